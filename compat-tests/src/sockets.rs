//! Servers and clients on real sockets: what an application sees.
//!
//! The protocol: the client says how much it sends and wants (two little-endian u32), sends it, and gets the
//! address under which the server saw it (22 characters, padded) and the bytes it asked for.

use crate::{Result, sys};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const NAME: usize = 22;

/// A server thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves TCP or UDP on `at` in the namespace `ns`; with `proxy` also what is for other hosts and comes there.
    pub fn start(ns: OwnedFd, tcp: bool, at: SocketAddrV4, proxy: Option<u32>) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let (ready_tx, ready_rx) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let bound = sys::enter_net(&ns).and_then(|()| {
                Ok(if tcp {
                    let l = TcpListener::bind(at)?;
                    l.set_nonblocking(true)?;
                    transparent(&l, proxy)?;
                    (Some(l), None)
                } else {
                    let u = UdpSocket::bind(at)?;
                    u.set_read_timeout(Some(Duration::from_millis(5)))?;
                    transparent(&u, proxy)?;
                    (None, Some(u))
                })
            });
            match bound {
                Err(e) => drop(ready_tx.send(Err(e))),
                Ok((l, u)) => {
                    let _ = ready_tx.send(Ok(()));
                    if let Some(l) = l {
                        serve_tcp(&l, &flag);
                    }
                    if let Some(u) = u {
                        serve_udp(&u, &flag);
                    }
                }
            }
        });
        ready_rx.recv()?.map_err(|e| format!("cannot serve on {at}: {e}"))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

/// A socket that takes what comes for `at`; with `proxy` also what is for other hosts and comes there.
pub fn listen(tcp: bool, at: SocketAddr, proxy: Option<u32>) -> std::io::Result<OwnedFd> {
    let socket: OwnedFd = if tcp { TcpListener::bind(at)?.into() } else { UdpSocket::bind(at)?.into() };
    if let Some(mark) = proxy {
        sys::set_mark(&socket, mark)?;
        sys::set_transparent(&socket, at.is_ipv6())?;
    }
    Ok(socket)
}

fn transparent(socket: &impl std::os::fd::AsRawFd, proxy: Option<u32>) -> std::io::Result<()> {
    let Some(mark) = proxy else { return Ok(()) };
    sys::set_mark(socket, mark)?;
    sys::set_transparent(socket, false)
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(t) = self.thread.take() {
            let _ = t.join();
        }
    }
}

fn serve_tcp(l: &TcpListener, stop: &AtomicBool) {
    let mut workers = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match l.accept() {
            Ok((s, peer)) => workers.push(std::thread::spawn(move || {
                let _ = answer_tcp(s, &peer.to_string());
            })),
            Err(_) => std::thread::sleep(Duration::from_micros(300)),
        }
    }
    for w in workers {
        let _ = w.join();
    }
}

fn answer_tcp(mut s: TcpStream, peer: &str) -> std::io::Result<()> {
    s.set_nonblocking(false)?;
    s.set_nodelay(true)?;
    s.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut head = [0u8; 8];
    s.read_exact(&mut head)?;
    let (request, response) = lengths(&head);
    let mut body = vec![0u8; request];
    s.read_exact(&mut body)?;
    let mut out = format!("{peer:NAME$}").into_bytes();
    out.extend((0..response).map(|i| i as u8));
    s.write_all(&out)?;
    // The client closes first.
    let mut rest = [0u8; 16];
    while s.read(&mut rest)? > 0 {}
    Ok(())
}

fn lengths(head: &[u8]) -> (usize, usize) {
    let n = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
    (n(0), n(4))
}

fn serve_udp(u: &UdpSocket, stop: &AtomicBool) {
    let mut buf = vec![0u8; 65_536];
    while !stop.load(Ordering::Relaxed) {
        let Ok((n, peer)) = u.recv_from(&mut buf) else { continue };
        let mut out = format!("{:NAME$}", peer.to_string()).into_bytes();
        let want = if n >= 8 { lengths(&buf).1 } else { 0 };
        if want > 60_000 {
            continue; // no request of ours
        }
        out.extend((0..want).map(|i| i as u8));
        let _ = u.send_to(&out, peer);
    }
}

/// What a client asks for.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// Local address and port.
    pub from: SocketAddrV4,
    /// Where to connect.
    pub to: SocketAddrV4,
    /// Bytes to send.
    pub request: u32,
    /// Bytes to ask for.
    pub response: u32,
    /// Packet mark of the socket.
    pub mark: u32,
    /// How long to wait for a connection or an answer.
    pub timeout: Duration,
}

fn head(a: &Ask) -> Vec<u8> {
    let mut v = a.request.to_le_bytes().to_vec();
    v.extend(a.response.to_le_bytes());
    v.extend((0..a.request).map(|i| i as u8));
    v
}

fn verify(answer: &[u8], a: &Ask) -> String {
    let who = String::from_utf8_lossy(&answer[..NAME.min(answer.len())]).trim_end().to_owned();
    let good =
        answer.len() == NAME + a.response as usize && answer[NAME..].iter().enumerate().all(|(i, b)| *b == i as u8);
    if good {
        format!("answered, server saw {who}")
    } else {
        format!("WRONG ANSWER of {} bytes, server saw {who}", answer.len())
    }
}

fn error_word(e: &std::io::Error) -> String {
    match e.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "timed out".into(),
        // Netfilter's verdict on a local sender reaches the system call; a program at tcx egress cannot
        // return EPERM, so both count as "no answer".
        ErrorKind::PermissionDenied => "timed out".into(),
        k => format!("error {k:?}"),
    }
}

/// Connects, sends, reads the answer, closes; says in words how it went.
pub fn tcp_get(a: Ask) -> String {
    let go = || -> std::io::Result<String> {
        let mut s = sys::tcp_connect(a.from, a.to, a.mark, a.timeout)?;
        s.set_nodelay(true)?;
        s.set_read_timeout(Some(a.timeout.max(Duration::from_millis(1000))))?;
        s.write_all(&head(&a))?;
        let mut answer = vec![0u8; NAME + a.response as usize];
        s.read_exact(&mut answer)?;
        s.shutdown(std::net::Shutdown::Write)?;
        let mut more = Vec::new();
        s.read_to_end(&mut more)?;
        answer.extend(more);
        Ok(verify(&answer, &a))
    };
    go().unwrap_or_else(|e| error_word(&e))
}

/// Sends one datagram and waits for the answer; says in words how it went.
pub fn udp_ask(a: Ask) -> String {
    let go = || -> std::io::Result<String> {
        let u = UdpSocket::bind(a.from)?;
        if a.mark != 0 {
            sys::set_mark(&u, a.mark)?;
        }
        u.connect(a.to)?;
        u.set_read_timeout(Some(a.timeout))?;
        u.send(&head(&a))?;
        let mut buf = vec![0u8; 65_536];
        let n = u.recv(&mut buf)?;
        Ok(verify(&buf[..n], &a))
    };
    go().unwrap_or_else(|e| error_word(&e))
}
