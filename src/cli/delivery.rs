//! `portcullis delivery`

use clap::{Args, Subcommand};

use super::Exit;
use super::output::{CliError, Out};
use crate::admin::api::{DeliveryTestRequest, DeliveryTested};
use crate::admin::client::AdminClient;

#[derive(Debug, Args)]
pub(super) struct DeliveryArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Send a code that proves nothing, to see whether it arrives
    #[command(after_help = TEST_HELP)]
    Test {
        /// The delivery's name in the configuration
        name: String,
        /// E-mail address or telephone number
        #[arg(long, value_name = "DESTINATION")]
        to: String,
    },
}

pub(super) async fn run(args: DeliveryArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    match args.verb {
        Verb::Test { name, to } => {
            let request = DeliveryTestRequest { delivery: name, to };
            test(&client.post("/v1/delivery/test", &request).await?, out)
        }
    }
}

fn test(tested: &DeliveryTested, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        out.json(tested)?;
    } else if tested.sent {
        out.line(format!("sent to {}: {}", tested.to, out.news(true, &tested.answer)))?;
    } else {
        out.line(format!(
            "not sent to {}: {}",
            tested.to,
            out.news(false, &tested.answer)
        ))?;
    }
    Ok(if tested.sent { Exit::Done } else { Exit::Refused })
}

const TEST_HELP: &str = "\
How deliveries are doing is shown by `portcullis status`. Exit code 1 when the message was not
taken.

Examples:
  portcullis delivery test mail --to ana@example.org
  portcullis delivery test sms --to '+49 170 1234567'";
