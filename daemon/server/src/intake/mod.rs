//! The ways in: each makes a `HelpRequest` and ends in `desk.accept`.

mod duty;
pub mod http;
pub mod imap;
mod limit;
pub mod mail;
pub mod mail_auth;
pub mod phone;
pub mod smtp;

use tokio::io::{AsyncRead, AsyncWrite};

/// What is read and written over: a socket, with TLS or without.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug> Wire for T {}
