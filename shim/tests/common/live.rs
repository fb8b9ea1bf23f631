//! Connections that have to outlast a change of rules.

use crate::netns::{Other, ip};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// A connection from another namespace, and the end of it here.
pub(crate) struct Live {
    pub(crate) far: TcpStream,
    pub(crate) here: TcpStream,
}

impl Live {
    /// `patience`: how long words may take.
    pub(crate) fn open(there: &Other, listener: &TcpListener, to: &str, patience: Duration) -> Self {
        let to = to.to_owned();
        let far = there.run(move || TcpStream::connect(to).unwrap());
        let (here, _) = listener.accept().unwrap();
        for stream in [&far, &here] {
            stream.set_read_timeout(Some(patience)).unwrap();
        }
        Self { far, here }
    }

    /// Whether words still go both ways.
    pub(crate) fn talks(&mut self) -> bool {
        let mut heard = [0; 4];
        let mut one_way = |from: &mut TcpStream, to: &mut TcpStream| {
            from.write_all(b"word").is_ok() && to.read_exact(&mut heard).is_ok()
        };
        one_way(&mut self.far, &mut self.here) && one_way(&mut self.here, &mut self.far)
    }
}

/// A namespace beside the test's own, 10.50.1.2 and fd50::2 seen from 10.50.1.1 and fd50::1.
pub(crate) fn world() -> Other {
    let there = Other::new();
    ip(&format!(
        "link add a1 type veth peer name b1 netns {}\nlink set a1 up\naddr add 10.50.1.1/24 dev a1\naddr add fd50::1/64 dev a1 nodad\n",
        there.path()
    ));
    there.run(|| ip("link set b1 up\naddr add 10.50.1.2/24 dev b1\naddr add fd50::2/64 dev b1 nodad\n"));
    there
}
