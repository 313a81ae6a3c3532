//! An FTP client in fifty lines: what a script would do with Python's ftplib.
//!
//! ```text
//! FTP_PASSWORD=secret cargo run --example client -- HOST [PORT [USER]]
//! ```
//! It lists the directory that the account begins in, makes a file of its own there, reads the second half of it, gives it another
//! name and removes it.

#![allow(clippy::print_stdout, reason = "it talks to whoever runs it")]

use std::error::Error;
use std::io;

use ftpfs::remote::{FileTransfers as _, FtpRemote, Name, Remote as _, Secret, ServerOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let host = arguments.next().ok_or("usage: client HOST [PORT [USER]], with the password in FTP_PASSWORD")?;
    let mut options = ServerOptions::new(host);
    if let Some(port) = arguments.next() {
        options.port = port.parse()?;
    }
    if let Some(user) = arguments.next() {
        options.user = user.into_bytes().into();
        options.password = Secret::new(std::env::var("FTP_PASSWORD")?);
    }

    let remote = FtpRemote::connect(options)?;
    let home = remote.login_directory();
    println!("{} lists {home}:", remote.banner());
    for entry in remote.list(&home)?.entries {
        println!("  {:?} {:>12} {}", entry.kind, entry.size.unwrap_or_default(), entry.name);
    }

    let path = home.join(&Name::new("ftpfs-example.txt")?);
    let stored = remote.store(&path, &mut "stored under a temporary name, then renamed\n".as_bytes())?;
    println!("stored {path}: {} bytes, as the server says itself", stored.size);

    println!("the second half of it:");
    remote.retrieve(&path, stored.size / 2, &mut io::stdout())?;

    let renamed = home.join(&Name::new("ftpfs-example-renamed.txt")?);
    remote.rename(&path, &renamed)?;
    remote.remove_file(&renamed)?;
    println!("renamed it to {renamed}, and removed it");
    Ok(())
}
