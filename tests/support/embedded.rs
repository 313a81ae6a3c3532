//! A real FTP server in the test process: libunftp over a folder, with the same account as the other servers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Runtime;
use unftp_core::auth::{AuthenticationError, Authenticator, Credentials, Principal};

use super::{PASSWORD, USER};

/// How long its threads may take to end.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// libunftp with threads of its own.
pub(super) struct EmbeddedServer {
    runtime: Runtime,
}

#[derive(Debug)]
struct OneAccount;

#[async_trait]
impl Authenticator for OneAccount {
    async fn authenticate(&self, user: &str, credentials: &Credentials) -> Result<Principal, AuthenticationError> {
        if user != USER {
            return Err(AuthenticationError::BadUser);
        }
        if credentials.password.as_deref() != Some(PASSWORD) {
            return Err(AuthenticationError::BadPassword);
        }
        Ok(Principal { username: user.to_owned() })
    }
}

impl EmbeddedServer {
    pub(super) fn start(folder: PathBuf, host: &str, port: u16, idle_timeout: Option<Duration>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("embedded-ftp")
            .enable_all()
            .build()
            .unwrap();
        let mut builder =
            libunftp::ServerBuilder::new(Box::new(move || unftp_sbe_fs::Filesystem::new(folder.clone()).unwrap()))
                .authenticator(Arc::new(OneAccount));
        if let Some(idle) = idle_timeout {
            builder = builder.idle_session_timeout(idle.as_secs());
        }
        let server = builder.build().unwrap();
        let address = SocketAddr::new(host.parse().unwrap(), port).to_string();
        runtime.spawn(async move { server.listen(address).await });
        Self { runtime }
    }

    /// Ends it with all of its connections.
    pub(super) fn stop(self) {
        self.runtime.shutdown_timeout(STOP_DEADLINE);
    }
}
