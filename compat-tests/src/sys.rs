//! The only unsafe code of the harness: namespaces, raw sockets and what `std` has no call for.
//!
//! Every function is a thin wrapper that turns a C return value into an [`io::Result`].
#![expect(unsafe_code, reason = "setns, packet sockets and raw sockets have no safe wrapper in std")]

use crate::scenario::Who;
use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

const ETH_P_ALL: u16 = 0x0003;
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
const PACKET_AUXDATA: libc::c_int = 8;
const TP_STATUS_CSUMNOTREADY: u32 = 1 << 3;
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;

/// `struct tpacket_auxdata` of `linux/if_packet.h`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Auxdata {
    status: u32,
    len: u32,
    snaplen: u32,
    mac: u16,
    net: u16,
    vlan_tci: u16,
    vlan_tpid: u16,
}

/// One frame read from a packet socket.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The bytes from the link-layer header on.
    pub bytes: Vec<u8>,
    /// The transport checksum holds only the pseudo header's sum (offloaded).
    pub partial_checksum: bool,
    /// The VLAN tag the kernel keeps beside the packet, if any.
    pub vlan: Option<u16>,
}

fn check(ret: libc::c_int) -> io::Result<libc::c_int> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

fn setopt<T>(fd: RawFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: `value` is valid for reads of `size_of::<T>()` bytes and the kernel only copies it.
    check(unsafe {
        libc::setsockopt(fd, level, name, std::ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t)
    })
    .map(drop)
}

fn socket(domain: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: plain system call; a non-negative result is a descriptor that nobody else owns.
    unsafe { Ok(OwnedFd::from_raw_fd(check(libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol))?)) }
}

fn sockaddr(addr: SocketAddrV4) -> libc::sockaddr_in {
    // SAFETY: all-zero is a valid sockaddr_in.
    let mut sa: libc::sockaddr_in = unsafe { zeroed() };
    sa.sin_family = libc::AF_INET as libc::sa_family_t;
    sa.sin_port = addr.port().to_be();
    sa.sin_addr.s_addr = u32::from_ne_bytes(addr.ip().octets());
    sa
}

/// Moves the calling thread into a new, empty network namespace.
pub fn unshare_net() -> io::Result<()> {
    // SAFETY: plain system call that affects the calling thread only.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) }).map(drop)
}

/// Moves the calling thread into the network namespace that `ns` refers to.
pub fn enter_net(ns: &OwnedFd) -> io::Result<()> {
    // SAFETY: plain system call that affects the calling thread only.
    check(unsafe { libc::setns(ns.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// The index of a device of the calling thread's namespace.
pub fn ifindex(name: &str) -> io::Result<u32> {
    let c = std::ffi::CString::new(name).map_err(io::Error::other)?;
    // SAFETY: `c` is a NUL-terminated string that outlives the call.
    match unsafe { libc::if_nametoindex(c.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        n => Ok(n),
    }
}

/// Whether a device is up and the kernel has noticed its carrier: before that it sends nothing.
pub fn is_running(name: &str) -> io::Result<bool> {
    let fd = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    // SAFETY: all-zero is a valid ifreq.
    let mut req: libc::ifreq = unsafe { zeroed() };
    for (to, from) in req.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    // SAFETY: SIOCGIFFLAGS reads the name and writes the flags of a valid ifreq; the flags are then initialised.
    let flags = unsafe {
        check(libc::ioctl(fd.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut req))?;
        libc::c_int::from(req.ifr_ifru.ifru_flags)
    };
    Ok(flags & libc::IFF_RUNNING != 0)
}

/// Binds the calling thread to one CPU, so that its packets keep their order.
pub fn pin_to_cpu(cpu: usize) -> io::Result<()> {
    // SAFETY: an all-zero cpu_set_t is the empty set; CPU_SET stays in bounds for cpu < 1024.
    let set = unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        libc::CPU_SET(cpu % 1024, &mut set);
        set
    };
    // SAFETY: `set` is valid for reads of its size; 0 names the calling thread.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) }).map(drop)
}

/// A packet socket on one device that sees what the device receives, not what it sends.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    ifindex: u32,
}

impl PacketSocket {
    /// Opens the socket in the calling thread's namespace on the device called `dev`.
    pub fn open(dev: &str) -> io::Result<Self> {
        let index = ifindex(dev)?;
        let fd = socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, 0)?;
        setopt(fd.as_raw_fd(), libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1i32)?;
        setopt(fd.as_raw_fd(), libc::SOL_PACKET, PACKET_AUXDATA, &1i32)?;
        setopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(64i32 << 20))?;
        let sa = Self::address(index);
        // SAFETY: `sa` is a valid sockaddr_ll for its stated size.
        check(unsafe {
            libc::bind(fd.as_raw_fd(), (&raw const sa).cast(), size_of::<libc::sockaddr_ll>() as libc::socklen_t)
        })?;
        Ok(Self { fd, ifindex: index })
    }

    fn address(index: u32) -> libc::sockaddr_ll {
        // SAFETY: all-zero is a valid sockaddr_ll.
        let mut sa: libc::sockaddr_ll = unsafe { zeroed() };
        sa.sll_family = libc::AF_PACKET as u16;
        sa.sll_protocol = ETH_P_ALL.to_be();
        sa.sll_ifindex = index as i32;
        sa
    }

    /// Sends one frame, link-layer header included.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        let mut sa = Self::address(self.ifindex);
        sa.sll_protocol = u16::from_ne_bytes([frame[12], frame[13]]);
        // SAFETY: `frame` and `sa` are valid for reads of the stated sizes.
        let n = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const sa).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if n < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next frame, or `None` when there is none right now.
    pub fn recv(&self) -> io::Result<Option<Frame>> {
        let mut buf = vec![0u8; 70_000];
        let mut control = [0u64; 16];
        let mut iov = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
        // SAFETY: all-zero is a valid msghdr.
        let mut msg: libc::msghdr = unsafe { zeroed() };
        msg.msg_iov = &raw mut iov;
        msg.msg_iovlen = 1;
        msg.msg_control = control.as_mut_ptr().cast();
        msg.msg_controllen = size_of_val(&control);
        // SAFETY: `msg` points at buffers that live to the end of this function.
        let n = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut msg, 0) };
        if n < 0 {
            let e = io::Error::last_os_error();
            return if e.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(e) };
        }
        buf.truncate(n as usize);
        let mut frame = Frame { bytes: buf, partial_checksum: false, vlan: None };
        // SAFETY: CMSG_FIRSTHDR and CMSG_DATA stay inside `control`, which the kernel filled; Auxdata is
        // read unaligned from at least cmsg_len bytes, checked before.
        unsafe {
            let c = libc::CMSG_FIRSTHDR(&raw const msg);
            if !c.is_null()
                && (*c).cmsg_level == libc::SOL_PACKET
                && (*c).cmsg_type == PACKET_AUXDATA
                && (*c).cmsg_len >= libc::CMSG_LEN(size_of::<Auxdata>() as u32) as usize
            {
                let aux: Auxdata = std::ptr::read_unaligned(libc::CMSG_DATA(c).cast());
                frame.partial_checksum = aux.status & TP_STATUS_CSUMNOTREADY != 0;
                if aux.status & TP_STATUS_VLAN_VALID != 0 {
                    frame.vlan = Some(aux.vlan_tci & 0xfff);
                }
            }
        }
        Ok(Some(frame))
    }
}

/// A raw socket: it receives what the INPUT hook let through, of IPv6 without its header.
#[derive(Debug)]
pub struct RawSocket {
    fd: OwnedFd,
}

impl RawSocket {
    /// Opens a receiving socket for one protocol number of IPv4 or IPv6.
    pub fn receiver(v6: bool, protocol: u8) -> io::Result<Self> {
        let domain = if v6 { libc::AF_INET6 } else { libc::AF_INET };
        let fd = socket(domain, libc::SOCK_RAW | libc::SOCK_NONBLOCK, i32::from(protocol))?;
        setopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(16i32 << 20))?;
        Ok(Self { fd })
    }

    /// Opens a sending socket (`IP_HDRINCL`); its packets pass the OUTPUT hook. `mark` is the packet mark.
    pub fn sender(mark: u32, dev: Option<&str>) -> io::Result<Self> {
        let fd = socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW)?;
        setopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_BROADCAST, &1i32)?;
        if mark != 0 {
            setopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MARK, &mark)?;
        }
        if let Some(dev) = dev {
            let mut name = [0u8; libc::IFNAMSIZ];
            name[..dev.len()].copy_from_slice(dev.as_bytes());
            setopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_BINDTODEVICE, &name)?;
        }
        Ok(Self { fd })
    }

    /// Sends one IPv4 packet, header included, to the header's destination.
    pub fn send(&self, packet: &[u8], to: Ipv4Addr) -> io::Result<()> {
        let sa = sockaddr(SocketAddrV4::new(to, 0));
        // SAFETY: `packet` and `sa` are valid for reads of the stated sizes.
        let n = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                (&raw const sa).cast(),
                size_of::<libc::sockaddr_in>() as libc::socklen_t,
            )
        };
        if n < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next packet (from the IP header on), or `None`.
    pub fn recv(&self) -> io::Result<Option<Vec<u8>>> {
        let mut buf = vec![0u8; 70_000];
        // SAFETY: `buf` is valid for writes of its length.
        let n = unsafe { libc::recv(self.fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len(), 0) };
        if n < 0 {
            let e = io::Error::last_os_error();
            return if e.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(e) };
        }
        buf.truncate(n as usize);
        Ok(Some(buf))
    }
}

/// Forgets all connections that the kernel tracks in the calling thread's namespace, as `conntrack -F` does.
pub fn flush_conntrack() -> io::Result<()> {
    /// `nlmsghdr` and `nfgenmsg` of IPCTNL_MSG_CT_DELETE: REQUEST and ACK, all families.
    const REQUEST: [u8; 20] = {
        let mut m = [0; 20];
        m[0] = 20;
        m[4] = 2;
        m[5] = 1;
        m[6] = 5;
        m
    };
    let fd = socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER)?;
    let mut answer = [0u8; 512];
    // SAFETY: the request is valid for reads, the answer for writes of the stated sizes.
    let n = unsafe {
        check(libc::send(fd.as_raw_fd(), REQUEST.as_ptr().cast(), REQUEST.len(), 0) as libc::c_int)?;
        check(libc::recv(fd.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0) as libc::c_int)?
    };
    match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
        _ if n < 20 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        0 => Ok(()),
        e => Err(io::Error::from_raw_os_error(-e)),
    }
}

/// Sends one IPv6 packet, header included, to the header's destination, with a packet mark. It passes the OUTPUT hook.
pub fn send_raw6(packet: &[u8], to: std::net::Ipv6Addr, mark: u32) -> io::Result<()> {
    let fd = socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_RAW)?;
    setopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MARK, &mark)?;
    // SAFETY: all-zero is a valid sockaddr_in6.
    let mut sa: libc::sockaddr_in6 = unsafe { zeroed() };
    sa.sin6_family = libc::AF_INET6 as libc::sa_family_t;
    sa.sin6_addr.s6_addr = to.octets();
    // SAFETY: `packet` and `sa` are valid for reads of the stated sizes.
    let n = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            0,
            (&raw const sa).cast(),
            size_of::<libc::sockaddr_in6>() as libc::socklen_t,
        )
    };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Connects a TCP socket from a chosen source address and port within `timeout`.
pub fn tcp_connect(from: SocketAddrV4, to: SocketAddrV4, mark: u32, timeout: Duration) -> io::Result<TcpStream> {
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
    setopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, &1i32)?;
    if mark != 0 {
        setopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MARK, &mark)?;
    }
    let (a, b) = (sockaddr(from), sockaddr(to));
    let size = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: `a` is a valid sockaddr_in of the stated size.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const a).cast(), size) })?;
    // SAFETY: `b` is a valid sockaddr_in of the stated size.
    if let Err(e) = check(unsafe { libc::connect(fd.as_raw_fd(), (&raw const b).cast(), size) }) {
        if e.raw_os_error() != Some(libc::EINPROGRESS) {
            return Err(e);
        }
        let mut p = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
        // SAFETY: `p` is one valid pollfd.
        if check(unsafe { libc::poll(&raw mut p, 1, timeout.as_millis() as i32) })? == 0 {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
    }
    let stream = TcpStream::from(fd);
    if let Some(e) = stream.take_error()? {
        return Err(e);
    }
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Does something as a user and groups, of which the sockets that it makes are. The calling thread is root, and is so again afterwards.
pub fn sent_by<T>(who: Option<&Who>, f: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Some(Who { uid, gid, groups }) = who else { return f() };
    let become_one = |uid: u32, gid: u32, groups: &[u32]| {
        // SAFETY: plain system calls for this thread alone (the library's setgroups would be for all); `groups` is valid for reads of its length.
        unsafe {
            libc::setfsuid(uid);
            libc::setfsgid(gid);
            libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr())
        }
    };
    check(become_one(*uid, *gid, groups) as libc::c_int)?;
    let done = f();
    check(become_one(0, 0, &[]) as libc::c_int)?;
    done
}

/// Sets the packet mark of a socket.
pub fn set_mark(fd: &impl AsRawFd, mark: u32) -> io::Result<()> {
    setopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MARK, &mark)
}

/// Lets a socket take what is for other hosts (`IP_TRANSPARENT`, `IPV6_TRANSPARENT`).
pub fn set_transparent(fd: &impl AsRawFd, ipv6: bool) -> io::Result<()> {
    let (level, name) =
        if ipv6 { (libc::SOL_IPV6, libc::IPV6_TRANSPARENT) } else { (libc::SOL_IP, libc::IP_TRANSPARENT) };
    setopt(fd.as_raw_fd(), level, name, &1i32)
}

/// Makes a socket's receive buffer `bytes` long, whatever the limit of the namespace.
pub fn set_receive_buffer(fd: &impl AsRawFd, bytes: i32) -> io::Result<()> {
    setopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &bytes)
}

/// The far end of a tun device: a link without Ethernet header.
#[derive(Debug)]
pub struct Tun {
    file: std::fs::File,
}

impl Tun {
    /// Makes a device in the calling thread's namespace; it goes when this is dropped.
    pub fn create(name: &str) -> io::Result<Self> {
        let file = std::fs::File::options().read(true).write(true).open("/dev/net/tun")?;
        // SAFETY: all-zero is a valid ifreq.
        let mut req: libc::ifreq = unsafe { zeroed() };
        for (to, from) in req.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
            *to = from as libc::c_char;
        }
        req.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: TUNSETIFF reads and writes a valid ifreq; F_SETFL takes an integer.
        unsafe {
            check(libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut req))?;
            check(libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK))?;
        }
        Ok(Self { file })
    }

    /// Puts one packet into the device, as if its far end had sent it.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut &self.file, packet)
    }

    /// The next packet that left by the device, or `None`.
    pub fn recv(&self) -> io::Result<Option<Vec<u8>>> {
        let mut buf = vec![0u8; 70_000];
        match io::Read::read(&mut &self.file, &mut buf) {
            Ok(n) => {
                buf.truncate(n);
                Ok(Some(buf))
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }
}
