//! `portcullis login`: a client of the server's own front doors, so that nothing needs installing to see
//! what people will see.

mod ldap;
mod radius;

use clap::{Args, Subcommand};

use super::Exit;
use super::output::{CliError, Out};

#[derive(Debug, Args)]
pub(super) struct LoginArgs {
    #[command(subcommand)]
    protocol: Protocol,
}

#[derive(Debug, Subcommand)]
enum Protocol {
    /// Send Access-Requests and walk through the challenges
    Radius(radius::RadiusArgs),
    /// Bind as an application does for its users, and ask the server who that is
    Ldap(ldap::LdapArgs),
}

pub(super) async fn run(args: LoginArgs, out: &mut Out<'_>) -> Result<Exit, CliError> {
    match args.protocol {
        Protocol::Radius(args) => radius::run(&args, out).await,
        Protocol::Ldap(args) => ldap::run(args, out).await,
    }
}
