//! Runs an image in user space: the reference of how the programs search and check, written from the comments of `abi`.

mod check;
mod connection;
mod decode;
mod extension;
mod packet;
mod run;
pub(crate) mod search;
mod search_ops;
mod transport;

pub use run::{Fault, traverse};
pub use search::{Pick, candidates};
