//! The pods of demo and bench: an HTTP server that answers with its name and with the client's address as
//! it sees it, one connection a request.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use crate::sys;

/// The hidden subcommand's command line.
#[derive(Args)]
pub(crate) struct Options {
    /// Network namespace to listen in
    #[arg(long)]
    netns: String,
    /// What to answer
    #[arg(long)]
    name: String,
    /// TCP port
    #[arg(long)]
    port: u16,
    /// CPU to stay on, ahead of other work
    #[arg(long)]
    cpu: Option<usize>,
}

/// Serves until killed. Says `listening` on standard output when it does.
///
/// # Errors
/// The namespace cannot be entered or the port is taken.
pub(crate) fn serve(options: &Options) -> Result<()> {
    sys::die_with_parent()?;
    sys::enter_netns(&options.netns).with_context(|| format!("cannot enter {}", options.netns))?;
    if let Some(cpu) = options.cpu {
        sys::pin_to_cpu(cpu).with_context(|| format!("cannot stay on CPU {cpu}"))?;
        sys::run_before_others().context("cannot raise the priority")?;
    }
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, options.port))
        .with_context(|| format!("cannot listen on port {}", options.port))?;
    println!("listening");
    for stream in listener.incoming() {
        // A client that goes away, or is late, costs only its own request.
        let _ = stream.and_then(|stream| answer(stream, &options.name));
    }
    Ok(())
}

fn answer(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let peer = stream.peer_addr()?.ip();
    let mut request = [0; 2048];
    let mut length = 0;
    while !request[..length].ends_with(b"\r\n\r\n") {
        match stream.read(&mut request[length..])? {
            0 => return Ok(()),
            n => length += n,
        }
    }
    let body = format!("{name} {peer}\n");
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n";
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes())
}
