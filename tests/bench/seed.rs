//! Enrols a token for every user of the benchmark, straight into a store that no server has open.
//!
//! One seed for all: it makes no difference to the server, which seals each of them apart.
#![allow(
    clippy::unwrap_used,
    reason = "a tool that meets something unexpected should end there"
)]

use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use data_encoding::HEXLOWER_PERMISSIVE;
use portcullis::clock;
use portcullis::config::Config;
use portcullis::engine::UserKey;
use portcullis::engine::batch::{Batch, Change, Key, Version};
use portcullis::engine::record::{Algorithm, Token, TokenKind, UserRecord, encode};
use portcullis::keyring::Keyring;
use portcullis::store::sled::SledStore;
use portcullis::store::{Durability, Store as _};

/// Enrols users 1 to N, whose entries have their numbers as UUIDs.
#[derive(Parser)]
struct Options {
    /// The server's configuration: says where store and key file are.
    #[arg(long)]
    config: PathBuf,
    /// Configured directories that the users are in.
    #[arg(long)]
    directory: Vec<String>,
    /// How many users.
    #[arg(long)]
    users: u64,
    /// How many others are enrolled, who never log in. Their records lie among those of the users.
    #[arg(long, default_value_t = 0)]
    crowd: u64,
    /// The seed, in hexadecimal.
    #[arg(long)]
    totp: String,
}

const USERS_A_BATCH: u64 = 500;
const CACHE_OCTETS: u64 = 64 << 20;

fn main() {
    let options = Options::parse();
    let (config, _) = Config::load(&options.config).unwrap();
    let seed = HEXLOWER_PERMISSIVE.decode(options.totp.as_bytes()).unwrap();
    std::fs::create_dir_all(&config.node.state).unwrap();
    let key_file = config.key_file(None);
    Keyring::create(&key_file).unwrap();
    let keyring = Arc::new(Keyring::load(&key_file).unwrap());
    let store = SledStore::open(&config.store_path(), CACHE_OCTETS, Arc::clone(&keyring)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for directory in &options.directory {
            let mut first = 1;
            while first <= options.users {
                let mut batch = Batch::default();
                for number in first..(first + USERS_A_BATCH).min(options.users + 1) {
                    let user = UserKey::new(directory, &format!("00000000-0000-4000-8000-{number:012}"));
                    let record = encode(&enrolled(&user, number, &seed, &keyring));
                    batch.replace(Key::user(&user), Version::default(), Change::Put(record, None));
                }
                store.commit(batch, Durability::Visible).await.unwrap();
                first += USERS_A_BATCH;
            }
            let mut first = 0;
            while first < options.crowd {
                let mut batch = Batch::default();
                for number in first..(first + USERS_A_BATCH).min(options.crowd) {
                    let (beside, which) = (number % options.users + 1, number / options.users);
                    let user = UserKey::new(directory, &format!("00000000-0000-4000-8000-{beside:012}-{which}"));
                    let record = encode(&enrolled(&user, number, &seed, &keyring));
                    batch.replace(Key::user(&user), Version::default(), Change::Put(record, None));
                }
                store.commit(batch, Durability::Visible).await.unwrap();
                first += USERS_A_BATCH;
            }
        }
        store.close().await.unwrap();
    });
}

fn enrolled(user: &UserKey, number: u64, seed: &[u8], keyring: &Keyring) -> UserRecord {
    const ID: u32 = 1;
    let token = Token {
        id: ID,
        label: "token-1".into(),
        kind: TokenKind::Totp {
            period: 30,
            last_step: None,
            drift: 0,
        },
        algorithm: Algorithm::Sha1,
        digits: 6,
        seed: keyring.seal(&Token::place(user.as_str(), ID), seed),
        disabled: false,
        failures: 0,
        enrolled: clock::now(),
        last_used: None,
    };
    UserRecord {
        login: format!("user{number:05}"),
        tokens: vec![token],
        ever_enrolled: true,
        next_token: ID + 1,
        ..UserRecord::default()
    }
}
