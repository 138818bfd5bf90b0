//! The program itself, on a real port: stopped, killed, disconnected by clients and cut off from its database
//! while people use it.

mod admission;
mod bodies;
mod clock;
mod crashes;
mod descriptors;
mod log;
mod overload;
mod shutdown;
mod stderr;
mod supervisor;
