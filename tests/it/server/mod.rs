//! The program itself, on a real port: stopped, killed, disconnected by clients and cut off from its database
//! while people use it.

mod admission;
mod bodies;
mod crashes;
mod log;
mod overload;
mod shutdown;
