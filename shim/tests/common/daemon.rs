//! The agent as a process of a test.

use std::process::{Child, Command, Stdio};

/// The agent of this namespace, killed when dropped.
pub(crate) struct Agent(pub(crate) Child);

impl Agent {
    #[allow(dead_code, reason = "each test binary uses a part")]
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(crate::BINARY);
        command.args(["bpftablesd", "--this-namespace"]).args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A line's text, after its time and level.
#[allow(dead_code, reason = "each test binary uses a part")]
pub(crate) fn text(line: &str) -> &str {
    line.split_once(": ").expect("a time and a level").1
}
