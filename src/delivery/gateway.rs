//! HTTP gateways: one request for each message. Redirections are not followed, and of the answer no more is
//! read than it takes.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Url, redirect};

use super::template::{Escape, Place, Template};
use super::{Failed, SetupFault, in_full, value};
use crate::config::{Delivery as Settings, Method};
use crate::engine::delivery::Message;
use crate::tls;

/// Most octets of an answer that are looked at.
const MOST_RECEIVED: usize = 64 * 1024;

/// How much later than whoever sends the client itself gives up.
const GRACE: Duration = Duration::from_secs(1);

/// A gateway.
pub(super) struct Gateway {
    client: Client,
    method: reqwest::Method,
    url: Template,
    /// What is said of it: scheme, host and port.
    target: String,
    headers: HeaderMap,
    body: Option<Template>,
    text: Template,
    success: Vec<u16>,
    success_text: Option<String>,
}

impl Gateway {
    /// Reads what TLS needs. Blocks.
    pub(super) fn new(settings: &Settings) -> Result<Self, SetupFault> {
        let written = settings.url.as_deref().unwrap_or_default();
        let headers = headers(settings)?;
        let url = Template::parse(written, &Place::REQUEST, Escape::Percent)
            .map_err(|fault| SetupFault::new("url", fault))?;
        let parsed =
            Url::parse(&url.fill(|_| "0")).map_err(|error| SetupFault::new("url", format!("is no URL: {error}")))?;
        let moved = Url::parse(&url.fill(|_| "1")).map(|other| other.origin() != parsed.origin());
        if moved != Ok(false) {
            return Err(SetupFault::new(
                "url",
                "has a place in its host; they may stand behind it only",
            ));
        }
        let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let escape = Escape::of(media_type.unwrap_or_default());
        let body = settings
            .body
            .as_deref()
            .map(|body| Template::parse(body, &Place::REQUEST, escape));
        let body = body.transpose().map_err(|fault| SetupFault::new("body", fault))?;
        let text = Template::parse(&settings.text, &Place::WORDS, Escape::Plain)
            .map_err(|fault| SetupFault::new("text", fault))?;
        let holds = |places: &[Place]| url.holds(places) || body.as_ref().is_some_and(|body| body.holds(places));
        if !holds(&[Place::Destination]) {
            return Err(SetupFault::new("url", "and `body` do not hold {destination}"));
        }
        if !holds(&[Place::Code, Place::Text]) {
            return Err(SetupFault::new("url", "and `body` hold neither {code} nor {text}"));
        }
        if !text.holds(&[Place::Code]) {
            return Err(SetupFault::new("text", "does not hold {code}"));
        }
        // Kept whether or not TLS is spoken, so that no other provider is looked for.
        let config = tls::client_config(settings.ca_file.as_deref());
        let config = config.map_err(|error| SetupFault::tls("ca_file", error))?;
        let client = Client::builder()
            .tls_backend_preconfigured((*config).clone())
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(settings.timeout)
            // Whoever sends ends it at the configured time, and says so.
            .timeout(settings.timeout + GRACE)
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(settings.in_flight)
            .user_agent("portcullis")
            .build()
            .map_err(|error| SetupFault::new("url", format!("cannot be asked: {error}")))?;
        Ok(Self {
            client,
            method: match settings.method {
                Method::Get => reqwest::Method::GET,
                Method::Post => reqwest::Method::POST,
                Method::Put => reqwest::Method::PUT,
            },
            target: parsed.origin().ascii_serialization(),
            url,
            headers,
            body,
            text,
            success: settings.success.clone(),
            success_text: settings.success_text.clone(),
        })
    }

    pub(super) fn target(&self) -> String {
        self.target.clone()
    }

    pub(super) async fn send(&self, message: &Message) -> Result<String, Failed> {
        let minutes = message.minutes.to_string();
        let text = self.text.fill(|place| value(place, message, &minutes, ""));
        let fill = |template: &Template| template.fill(|place| value(place, message, &minutes, &text));
        let url = Url::parse(&fill(&self.url)).map_err(|error| Failed::Unavailable(error.to_string()))?;
        let mut request = self
            .client
            .request(self.method.clone(), url)
            .headers(self.headers.clone());
        if let Some(body) = &self.body {
            request = request.body(fill(body).as_bytes().to_vec());
        }
        let mut answer = request.send().await.map_err(|error| self.failed(error))?;
        let status = answer.status().as_u16();
        let taken = match self.success.as_slice() {
            [] => (200..300).contains(&status),
            list => list.contains(&status),
        };
        let said = format!("HTTP {status}");
        if !taken {
            // 400 and 422 are how gateways refuse numbers; the rest is about us or about them.
            return Err(match status {
                400 | 422 => Failed::Refused(said),
                // There is somebody, who wants fewer (RFC 6585 section 4).
                429 => Failed::Busy(said),
                _ => Failed::Unavailable(said),
            });
        }
        let Some(wanted) = &self.success_text else {
            return Ok(said);
        };
        let mut octets = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.failed(error))? {
            let room = MOST_RECEIVED.saturating_sub(octets.len());
            octets.extend(chunk.iter().take(room));
            if octets.len() >= MOST_RECEIVED {
                break;
            }
        }
        match String::from_utf8_lossy(&octets).contains(wanted.as_str()) {
            true => Ok(said),
            false => Err(Failed::Refused(format!("{said}, without the text of `success_text`"))),
        }
    }

    /// Connects, and sends nothing.
    pub(super) async fn probe(&self) -> Result<(), Failed> {
        // Whatever it answers, it answers.
        let url = Url::parse(&self.target).map_err(|error| Failed::Unavailable(error.to_string()))?;
        let asked = self.client.head(url).send().await;
        asked.map(|_| ()).map_err(|error| self.failed(error))
    }

    /// What went wrong, without the URL, which may hold the code.
    fn failed(&self, error: reqwest::Error) -> Failed {
        let error = error.without_url();
        Failed::Unavailable(format!("{}: {}", self.target, in_full(&error)))
    }
}

/// The headers of every request; those that are secret are kept out of what is printed.
fn headers(settings: &Settings) -> Result<HeaderMap, SetupFault> {
    let mut headers = HeaderMap::new();
    let named = |name: &str, key: &'static str| {
        HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| SetupFault::new(key, format!("`{name}` is no name of a header")))
    };
    for (name, value) in &settings.headers {
        let read = HeaderValue::from_str(value)
            .map_err(|_| SetupFault::new("headers", format!("the value of `{name}` is none of a header")))?;
        headers.insert(named(name, "headers")?, read);
    }
    for (name, value) in &settings.secret_headers {
        let mut read = HeaderValue::from_bytes(value.expose())
            .map_err(|_| SetupFault::new("header_files", format!("the value of `{name}` is none of a header")))?;
        read.set_sensitive(true);
        headers.insert(named(name, "header_files")?, read);
    }
    let body = settings.body.as_deref().map(str::trim_start);
    if let Some(body) = body.filter(|_| !headers.contains_key(CONTENT_TYPE)) {
        let media_type = match body.starts_with(['{', '[']) {
            true => "application/json",
            false => "application/x-www-form-urlencoded",
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    }
    Ok(headers)
}
