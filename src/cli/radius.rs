//! `portcullis radius`

use std::collections::HashMap;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Exit;
use super::output::{CliError, Out, Tone};
use crate::dictionary::Dictionary;
use crate::document::Faults;
use crate::radius::crypto::SharedSecret;
use crate::radius::decode::datagram::{self, CaptureFault, Datagram};
use crate::radius::decode::dump::{self, Run};
use crate::radius::decode::named::{self, Line, Secrets};
use crate::radius::decode::{Check, Dissected, Fault, Known, Mark, dissect, hex, is_request};
use crate::secret::Secret;

#[derive(Debug, Args)]
pub(super) struct RadiusArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Take packets apart: from hexadecimal digits, or from the output of tcpdump, xxd or Wireshark
    #[command(after_help = DECODE_HELP)]
    Decode(DecodeArgs),
}

#[derive(Debug, Args)]
struct DecodeArgs {
    /// Hexadecimal digits; standard input is read when there are none
    hex: Vec<String>,
    /// The shared secret; others on this machine see it in the list of processes
    #[arg(long, conflicts_with = "secret_file")]
    secret: Option<String>,
    /// File that holds the shared secret
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// The request that a reply answers, in hexadecimal digits, where it is not in the input
    #[arg(long, value_name = "HEX")]
    request: Option<String>,
    /// The packets travelled as RADIUS/1.1
    #[arg(long)]
    v11: bool,
    /// Show passwords and keys
    #[arg(long)]
    show_passwords: bool,
    /// Folder with dictionaries besides those that are part of the program
    #[arg(long, value_name = "FOLDER")]
    dictionary: Option<PathBuf>,
}

pub(super) fn run(args: &RadiusArgs, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let Verb::Decode(args) = &args.verb;
    args.decode(out)
}

/// Most octets of text that are read.
const MAX_TEXT: u64 = 16 << 20;

/// What a packet in the input came to.
#[derive(Debug, Serialize)]
struct Decoded<'a> {
    /// The line of the input where it begins.
    line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<SocketAddr>,
    #[serde(flatten)]
    packet: Option<Dissected<'a>>,
    attributes: Vec<Line>,
    /// Why there is no packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
}

/// Which request a reply answers: the one of its mark between the same two, the other way round.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Conversation {
    ends: Option<(SocketAddr, SocketAddr)>,
    identifier: u8,
}

impl DecodeArgs {
    fn decode(&self, out: &mut Out<'_>) -> Result<Exit, CliError> {
        let secret = self.secret()?.map(|secret| SharedSecret::new(&secret));
        let dictionary = dictionary(self.dictionary.as_deref())?;
        let given = match &self.request {
            Some(text) => Some(authenticator(text)?),
            None => None,
        };
        let runs = read(&self.text()?)?;
        let mut requests = HashMap::new();
        let mut decoded = Vec::with_capacity(runs.len());
        for run in &runs {
            let known = Known {
                secret: secret.as_ref(),
                request: given.as_ref(),
                v11: self.v11,
            };
            decoded.push(self.packet(run, known, &dictionary, &mut requests));
        }
        if out.json {
            out.json(&decoded)?;
        } else {
            for (index, one) in decoded.iter().enumerate() {
                if index > 0 {
                    out.line("")?;
                }
                one.print(out)?;
            }
        }
        Ok(if decoded.iter().all(Decoded::is_sound) {
            Exit::Done
        } else {
            Exit::Refused
        })
    }

    /// Takes one run of octets apart, and remembers a request for the replies behind it.
    fn packet<'a>(
        &self,
        run: &'a Run,
        known: Known<'_>,
        dictionary: &Dictionary,
        requests: &mut HashMap<Conversation, [u8; 16]>,
    ) -> Decoded<'a> {
        let unreadable = |why: String| Decoded {
            line: run.line,
            source: None,
            destination: None,
            packet: None,
            attributes: Vec::new(),
            unreadable: Some(why),
        };
        let (octets, ends) = match carried(&run.octets) {
            Ok(Some(Datagram {
                source,
                destination,
                payload,
            })) => (payload, Some((source, destination))),
            Ok(None) => (run.octets.as_slice(), None),
            Err(fault) => return unreadable(fault.to_string()),
        };
        let packet = match dissect(octets, known) {
            Ok(packet) => packet,
            Err(fault) => return unreadable(fault.to_string()),
        };
        let request = match (packet.mark, packet.authenticator) {
            (Mark::Identifier(identifier), Some(own)) if is_request(packet.code) => {
                requests.insert(Conversation { ends, identifier }, *own);
                None
            }
            (Mark::Identifier(identifier), _) => {
                let ends = ends.map(|(source, destination)| (destination, source));
                requests.get(&Conversation { ends, identifier })
            }
            (Mark::Token(_), _) => None,
        };
        let known = Known {
            request: known.request.or(request),
            ..known
        };
        let packet = dissect(octets, known).unwrap_or(packet);
        let secrets = if self.show_passwords {
            Secrets::Show
        } else {
            Secrets::Hide
        };
        Decoded {
            line: run.line,
            source: ends.map(|(source, _)| source),
            destination: ends.map(|(_, destination)| destination),
            attributes: named::lines(&packet, dictionary, known, secrets),
            packet: Some(packet),
            unreadable: None,
        }
    }

    fn secret(&self) -> Result<Option<Secret>, CliError> {
        match (&self.secret, &self.secret_file) {
            (Some(secret), _) => Ok(Some(Secret::new(secret.as_bytes()))),
            (None, Some(file)) => {
                let text = std::fs::read(file).map(zeroize::Zeroizing::new);
                let text = text.map_err(|error| CliError::File(format!("{}: {error}", file.display()), None))?;
                Ok(Some(Secret::new(text.trim_ascii_end())))
            }
            (None, None) => Ok(None),
        }
    }

    fn text(&self) -> Result<String, CliError> {
        if !self.hex.is_empty() {
            return Ok(self.hex.join(" "));
        }
        let mut octets = Vec::new();
        std::io::stdin()
            .lock()
            .take(MAX_TEXT)
            .read_to_end(&mut octets)
            .map_err(CliError::Io)?;
        String::from_utf8(octets).map_err(|_| {
            let remedy = "for a capture file: tcpdump -r FILE -X | portcullis radius decode";
            CliError::Usage("the input is not text".into(), Some(remedy))
        })
    }
}

fn dictionary(folder: Option<&Path>) -> Result<Arc<Dictionary>, CliError> {
    let Some(folder) = folder else {
        return Ok(Arc::clone(Dictionary::shipped()));
    };
    let mut faults = Faults::default();
    let dictionary = Dictionary::load(folder, &mut faults);
    if faults.any_errors() {
        return Err(CliError::File(faults.to_string(), None));
    }
    Ok(dictionary)
}

fn read(text: &str) -> Result<Vec<Run>, CliError> {
    dump::read(text).map_err(|fault| {
        let remedy = "give hexadecimal digits, or the output of tcpdump -X, xxd, hexdump -C, od -tx1 or Wireshark";
        CliError::Usage(fault.to_string(), Some(remedy))
    })
}

/// The Authenticator field of the first packet in a text.
fn authenticator(text: &str) -> Result<[u8; 16], CliError> {
    let unusable = |why: String| CliError::Usage(format!("--request: {why}"), None);
    let runs = read(text)?;
    let octets = runs.first().map(|run| run.octets.as_slice()).unwrap_or_default();
    let octets = match carried(octets).map_err(|fault| unusable(fault.to_string()))? {
        Some(datagram) => datagram.payload,
        None => octets,
    };
    let packet = dissect(octets, Known::default()).map_err(|fault| unusable(fault.to_string()))?;
    packet
        .authenticator
        .copied()
        .ok_or_else(|| unusable("it has no authenticator".into()))
}

fn carried(octets: &[u8]) -> Result<Option<Datagram<'_>>, CaptureFault> {
    datagram::find(octets).transpose()
}

impl Decoded<'_> {
    /// Whether nothing is malformed, and nothing that could be checked is wrong.
    fn is_sound(&self) -> bool {
        self.packet.as_ref().is_some_and(|packet| {
            let wrong = [packet.authenticator_check, packet.message_authenticator].contains(&Check::Invalid);
            packet.fault.is_none() && !wrong
        })
    }

    fn print(&self, out: &mut Out<'_>) -> Result<(), CliError> {
        if let (Some(source), Some(destination)) = (self.source, self.destination) {
            out.line(format!("{source} -> {destination}"))?;
        }
        let Some(packet) = &self.packet else {
            let why = self.unreadable.as_deref().unwrap_or_default();
            let text = out.tint(Tone::Bad, &format!("line {}: {why}", self.line));
            return out.line(text);
        };
        let mark = match packet.mark {
            Mark::Identifier(identifier) => format!("identifier {identifier}"),
            Mark::Token(token) => format!("token {token:#010x}"),
        };
        let padding = match packet.padding {
            0 => String::new(),
            more => format!(", and {more} octets of padding"),
        };
        let name = out.tint(Tone::Bold, packet.name);
        out.line(format!(
            "{name} ({}), {mark}, {} octets{padding}",
            packet.code, packet.length
        ))?;
        let authenticator = packet.authenticator.map(|octets| {
            let check = told(packet.authenticator_check, out);
            format!("{} {check}", hex(octets))
        });
        let mut signature = told(packet.message_authenticator, out);
        let signed = !matches!(packet.message_authenticator, Check::Absent | Check::Unused);
        if signed && !packet.signed_first && !is_request(packet.code) {
            signature.push_str(", but not the first attribute");
        }
        out.pairs(&[
            ("Authenticator", authenticator),
            ("Message-Authenticator", Some(signature)),
        ])?;
        let rows = self.attributes.iter().map(|line| {
            let number = out.tint(Tone::Faint, &line.number);
            vec![format!("{:4}", line.at), number, line.name.clone(), line.value.clone()]
        });
        let rows = rows.collect();
        out.table(&["  AT", "TYPE", "ATTRIBUTE", "VALUE"], rows)?;
        match &packet.fault {
            Some(Fault { at, what }) => {
                let text = out.tint(Tone::Bad, &format!("malformed at octet {at}: {what}"));
                out.line(text)
            }
            None => Ok(()),
        }
    }
}

fn told(check: Check, out: &Out<'_>) -> String {
    match check {
        Check::Valid => out.news(true, "valid"),
        Check::Invalid => out.news(false, "INVALID: made with another secret, or altered on the way"),
        Check::Absent => "absent".to_owned(),
        Check::Random => "(random, as in every request of this kind)".to_owned(),
        Check::NeedsSecret => "(not checked: give the shared secret)".to_owned(),
        Check::NeedsRequest => "(not checked: give --request, or the request in the same input)".to_owned(),
        Check::Unused => "(not used by RADIUS/1.1)".to_owned(),
        Check::Malformed => "(not checked: the packet is malformed)".to_owned(),
    }
}

const DECODE_HELP: &str = "\
No server is asked. The input is hexadecimal digits, with or without spaces, colons or 0x, or the
output of tcpdump -x or -X, xxd, hexdump -C, od -tx1, or Wireshark's hex dump; a packet is found
in UDP over IPv4 or IPv6, and replies are matched with the requests before them. With the shared
secret Authenticator and Message-Authenticator are checked. Of what is malformed, the first octet
at fault is named, counted from 0. Exit code 1 when something is malformed or does not verify.

Examples:
  tcpdump -i any -X -s 0 -c 2 udp port 1812 | portcullis radius decode --secret-file radius.secret
  tcpdump -r capture.pcap -X | portcullis radius decode
  portcullis radius decode 01 2a 00 14 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f
  portcullis radius decode --secret-file s --request \"$REQUEST\" --show-passwords < reply.hex";
