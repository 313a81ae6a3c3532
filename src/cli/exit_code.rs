//! What the program's exit code says. Scripts rely on these numbers: they are never given another meaning.

use std::process::ExitCode;

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: mounted (in the background), or unmounted with everything uploaded.
    Success,
    /// 1: something that has no number of its own.
    Failure,
    /// 2: the command line is wrong, or asks for what this version cannot do.
    Usage,
    /// 3: the server cannot be reached, or does not answer in time.
    Unreachable,
    /// 4: the server refused the login.
    LoginRefused,
    /// 5: the directory of the URL is not there, or cannot be listed.
    Directory,
    /// 6: the mountpoint cannot be used, or nothing of ours is mounted there.
    Mountpoint,
    /// 7: mounting failed: no FUSE, no permission.
    Mount,
    /// 8: no password could be found, or its source cannot be used.
    Credentials,
    /// 9: the server answers what no FTP server should.
    Protocol,
    /// 10: the connection cannot be encrypted as asked for, or the server's certificate is not trusted.
    Encryption,
    /// 11: the state directory cannot be used, or another mount has it.
    StateDirectory,
    /// 12: some files are not on the server, and all of these are in the journal: the next mount delivers them.
    Kept,
    /// 75: the mount ended while some files were not on the server; the log names them.
    Unsaved,
}

impl Exit {
    /// The number.
    pub fn number(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::LoginRefused => 4,
            Self::Directory => 5,
            Self::Mountpoint => 6,
            Self::Mount => 7,
            Self::Credentials => 8,
            Self::Protocol => 9,
            Self::Encryption => 10,
            Self::StateDirectory => 11,
            Self::Kept => 12,
            // EX_TEMPFAIL of sysexits.h.
            Self::Unsaved => 75,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_that_scripts_know() {
        let all = [
            (Exit::Success, 0),
            (Exit::Failure, 1),
            (Exit::Usage, 2),
            (Exit::Unreachable, 3),
            (Exit::LoginRefused, 4),
            (Exit::Directory, 5),
            (Exit::Mountpoint, 6),
            (Exit::Mount, 7),
            (Exit::Credentials, 8),
            (Exit::Protocol, 9),
            (Exit::Encryption, 10),
            (Exit::StateDirectory, 11),
            (Exit::Kept, 12),
            (Exit::Unsaved, 75),
        ];
        for (exit, number) in all {
            assert_eq!(exit.number(), number, "{exit:?}");
        }
    }
}
