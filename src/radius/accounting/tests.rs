use std::net::SocketAddr;

use super::*;
use crate::engine::facts::UserKey;
use crate::radius::attribute::ACCOUNTING_REQUEST;
