//! Sockets: nothing else touches the network.
//!
//! A [`ControlConnection`] sends commands and hands each caller its own replies; a [`DataConnection`] moves
//! the bytes of one transfer. Every wait here ends at a deadline.
//!
//! Not here: logging in, and how many connections there are (`pool`); what replies look like (`protocol`).

pub mod control;
pub mod data;
pub mod deadlines;
pub mod error;
pub mod proxy;
pub mod readiness;
pub mod resolve;
pub mod route;
pub mod tally;
pub mod tls;
pub mod transport;

pub use control::{ControlConnection, ControlOptions, StopOrder, Ticket};
pub use data::{DataConnection, DataListener, PendingConnection, Progress};
pub use deadlines::Deadlines;
pub use error::ConnectionError;
pub use proxy::{Proxy, ProxyLogin, ProxyScheme};
pub use readiness::Readiness;
pub use route::Route;
pub use tally::{Clock, Tally};
pub use tls::{Resumable, TlsClient, TlsError, TlsLogin, TlsOptions, Trust, Versions};
pub use transport::Transport;
