//! The only unsafe code of this crate: calls that the standard library does not have.
#![expect(unsafe_code, reason = "setns, affinity, wait4 and sendmmsg have no safe form in std")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// True when the effective user is root.
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid takes nothing, touches no memory of ours and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Moves the calling thread (only it) into the network namespace of that name under /run/netns.
///
/// # Errors
/// There is no such namespace, or we are not root.
pub(crate) fn enter_netns(name: &str) -> io::Result<()> {
    let file = File::open(format!("/run/netns/{name}"))?;
    // SAFETY: the descriptor is open for the whole call; setns touches no memory of ours.
    check(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// Lets the calling thread run on CPU `cpu` only.
///
/// # Errors
/// There is no such CPU, or it is not ours to use.
pub(crate) fn pin_to_cpu(cpu: usize) -> io::Result<()> {
    // SAFETY: cpu_set_t is a plain array of integers, for which all zeroes is a value (the empty set).
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: CPU_SET ignores a number beyond the set, and `set` is ours alone.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the pointer and the size are those of `set`, which outlives the call.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) })
}

/// Has the calling thread run before every ordinary one of its CPU, so that other work on the machine moves
/// a measurement less.
///
/// # Errors
/// Not root.
pub(crate) fn run_before_others() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: the pointer is to a live sched_param, which the kernel only reads; 0 is this thread.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) })
}

/// Has the kernel kill this process when the thread that started it ends.
///
/// # Errors
/// The kernel refuses.
pub(crate) fn die_with_parent() -> io::Result<()> {
    // SAFETY: this prctl takes one integer and touches no memory of ours.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })
}

/// Sends SIGKILL to a process; one that is gone is not an error.
pub(crate) fn kill(pid: u32) {
    if let Ok(pid) = libc::pid_t::try_from(pid) {
        // SAFETY: kill touches no memory; a pid above 0 names one process, never a group.
        let _ = unsafe { libc::kill(pid.max(1), libc::SIGKILL) };
    }
}

/// What a finished child has used.
pub(crate) struct Usage {
    /// Exit code, or 128 + signal as a shell has it.
    pub(crate) exit: i32,
    /// Largest resident set, in KiB.
    pub(crate) peak_kib: u64,
    /// CPU time in user space.
    pub(crate) user: Duration,
    /// CPU time in the kernel.
    pub(crate) system: Duration,
}

/// Waits for the child `pid`, which nobody else may wait for.
///
/// # Errors
/// It is no child of ours.
pub(crate) fn wait_with_usage(pid: u32) -> io::Result<Usage> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
    let mut status = 0;
    // SAFETY: rusage is plain integers, for which all zeroes is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to live variables of the types that wait4 fills.
        match check(unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) }) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let exit = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) };
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec.unsigned_abs()) + Duration::from_micros(t.tv_usec.unsigned_abs())
    };
    Ok(Usage {
        exit,
        peak_kib: usage.ru_maxrss.unsigned_abs(),
        user: time(usage.ru_utime),
        system: time(usage.ru_stime),
    })
}

/// Bytes of an Ethernet frame as sent (64 on the wire with its checksum).
pub(crate) const FRAME: usize = 60;
/// Frames per system call.
pub(crate) const BATCH: usize = 64;

/// Sends Ethernet frames on one device, past its queueing discipline.
pub(crate) struct FrameSender {
    socket: OwnedFd,
}

impl FrameSender {
    /// A sender on `device` of the calling thread's network namespace.
    ///
    /// # Errors
    /// No such device, or not root.
    pub(crate) fn new(device: &str) -> io::Result<Self> {
        let name = std::ffi::CString::new(device)?;
        // SAFETY: `name` ends in a zero byte and outlives the call.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if index == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: socket takes integers only.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        check(fd)?;
        // SAFETY: `fd` is a descriptor just made, which nothing else owns.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let one: libc::c_int = 1;
        // SAFETY: the option's value is one c_int that outlives the call.
        check(unsafe {
            libc::setsockopt(
                fd,
                libc::SOL_PACKET,
                libc::PACKET_QDISC_BYPASS,
                (&raw const one).cast(),
                size_of_val(&one) as libc::socklen_t,
            )
        })?;
        // SAFETY: sockaddr_ll is plain integers, for which all zeroes is a value.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = index.cast_signed();
        // SAFETY: the pointer and the length are those of `address`, which outlives the call.
        check(unsafe { libc::bind(fd, (&raw const address).cast(), size_of_val(&address) as libc::socklen_t) })?;
        Ok(Self { socket })
    }

    /// Sends the frames and returns how many the kernel took. A full queue on the way (ENOBUFS) counts
    /// as one frame lost, as it is on a wire.
    ///
    /// # Errors
    /// The device is gone or down.
    pub(crate) fn send(&self, frames: &mut [[u8; FRAME]]) -> io::Result<usize> {
        let total = frames.len().min(BATCH);
        // SAFETY: iovec and mmsghdr are pointers and integers, for which all zeroes is a value.
        let (mut parts, mut messages): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        for ((frame, part), message) in frames.iter_mut().zip(&mut parts).zip(&mut messages) {
            part.iov_base = frame.as_mut_ptr().cast();
            part.iov_len = FRAME;
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
        }
        let mut done = 0;
        while done < total {
            let left = &mut messages[done..total];
            // SAFETY: `left` holds as many headers as said; each points at one iovec of `parts`, and each of
            // these at a frame of `frames`; all of them outlive the call, which only reads the frames.
            let sent =
                unsafe { libc::sendmmsg(self.socket.as_raw_fd(), left.as_mut_ptr(), left.len() as libc::c_uint, 0) };
            match check(sent) {
                Ok(()) => done += usize::try_from(sent).unwrap_or(0).max(1),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => done += 1,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
