//! How somebody proves in an Access-Request who they are, and what CHAP and MS-CHAPv2 have to say in return:
//! the server's side, and the client's.

use std::sync::Arc;

use data_encoding::HEXUPPER;

use crate::clock;
use crate::engine::Given;
use crate::engine::response::{Chap, MsChapSuccess, MsChapV2, Peer, Response};
use crate::radius::attribute::{
    CHAP_CHALLENGE, CHAP_PASSWORD, EAP_MESSAGE, MS_CHAP_CHALLENGE, MS_CHAP_ERROR, MS_CHAP_RESPONSE, MS_CHAP2_RESPONSE,
    MS_CHAP2_SUCCESS, MS_MPPE_ENCRYPTION_POLICY, MS_MPPE_ENCRYPTION_TYPES, MS_MPPE_RECV_KEY, MS_MPPE_SEND_KEY,
    USER_PASSWORD, VENDOR_MICROSOFT, VENDOR_SPECIFIC,
};
use crate::radius::crypto::{AUTHENTICATOR_LEN, MAX_PASSWORD, Salts, SharedSecret};
use crate::radius::exchange::Request;
use crate::radius::packet::{Attribute, Attributes, Overflow, Packet, Writer};
use crate::radius::translate::{Refusal, Untranslated};
use crate::secret::Secret;

/// The attributes that say how somebody proves who they are, gathered in one walk over the packet.
#[derive(Default)]
pub(super) struct Proofs<'a> {
    password: Option<&'a [u8]>,
    chap_password: Option<&'a [u8]>,
    chap_challenge: Option<&'a [u8]>,
    ms_challenge: Option<&'a [u8]>,
    ms_chap2_response: Option<&'a [u8]>,
    ms_chap: bool,
    eap: bool,
    /// Attributes within Microsoft's Vendor-Specific do not add up.
    malformed: bool,
}

impl<'a> Proofs<'a> {
    /// Keeps the attribute if it is one of these.
    pub(super) fn take(&mut self, attribute: Attribute<'a>) -> Result<(), Refusal> {
        let value = attribute.value;
        match attribute.kind {
            USER_PASSWORD => once(&mut self.password, value, Refusal::RepeatedPassword),
            CHAP_PASSWORD => once(&mut self.chap_password, value, Refusal::RepeatedPassword),
            CHAP_CHALLENGE => once(&mut self.chap_challenge, value, Refusal::RepeatedPassword),
            EAP_MESSAGE => {
                self.eap = true;
                Ok(())
            }
            VENDOR_SPECIFIC => match value.split_first_chunk::<4>() {
                Some((vendor, rest)) if u32::from_be_bytes(*vendor) == VENDOR_MICROSOFT => self.take_microsoft(rest),
                Some(_) | None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn take_microsoft(&mut self, octets: &'a [u8]) -> Result<(), Refusal> {
        let mut attributes = Attributes::new(octets);
        for Attribute { kind, value, .. } in attributes.by_ref() {
            match kind {
                MS_CHAP_CHALLENGE => once(&mut self.ms_challenge, value, Refusal::RepeatedPassword)?,
                MS_CHAP2_RESPONSE => once(&mut self.ms_chap2_response, value, Refusal::RepeatedPassword)?,
                MS_CHAP_RESPONSE => self.ms_chap = true,
                _ => {}
            }
        }
        self.malformed |= !attributes.rest().is_empty();
        Ok(())
    }

    /// What was given, when it is by one method alone. `secret` is absent where values travel as they are;
    /// `user` is User-Name as it was sent.
    pub(super) fn given(
        &self,
        packet: &Packet<'_>,
        secret: Option<&SharedSecret>,
        user: &[u8],
    ) -> Result<Given, Untranslated> {
        let methods = [
            self.password.is_some(),
            self.chap_password.is_some(),
            self.ms_chap2_response.is_some() || self.ms_chap,
            self.eap,
        ];
        if methods.iter().filter(|&&method| method).count() > 1 {
            return Err(Refusal::ConflictingMethods.into());
        }
        if let Some(hidden) = self.password {
            return typed(hidden, packet, secret).map(Given::Typed);
        }
        if let Some(value) = self.chap_password {
            return self.chap(value, packet, secret).map(Given::Response);
        }
        if self.eap {
            return Err(Refusal::Eap.into());
        }
        match self.ms_chap2_response {
            Some(value) => self.ms_chap2(value, user).map(Given::Response),
            None if self.ms_chap => Err(Refusal::MsChapV1.into()),
            None => Err(Refusal::NoPassword.into()),
        }
    }

    /// RFC 2865 section 5.3: an identifier and 16 octets. Where there is no CHAP-Challenge, the Request
    /// Authenticator is the challenge; with RADIUS/1.1 there is none (RFC 9765 section 5.1.2).
    fn chap(&self, value: &[u8], packet: &Packet<'_>, secret: Option<&SharedSecret>) -> Result<Response, Untranslated> {
        let challenge = match self.chap_challenge {
            Some(challenge) => challenge,
            None if secret.is_some() => packet.authenticator(),
            None => return Err(Refusal::NoChallenge.into()),
        };
        let chap = value
            .split_first_chunk::<1>()
            .and_then(|([identifier], response)| Chap::new(*identifier, challenge, response.try_into().ok()?));
        chap.map(Response::Chap).ok_or(Untranslated::MalformedResponse)
    }

    /// RFC 2548 sections 2.1.2 and 2.3.2.
    fn ms_chap2(&self, value: &[u8], user: &[u8]) -> Result<Response, Untranslated> {
        let challenge = self.ms_challenge.ok_or(Refusal::NoChallenge)?;
        let response = challenge
            .try_into()
            .ok()
            .and_then(|challenge| MsChapV2::new(value, challenge, user))
            .filter(|_| !self.malformed);
        response.map(Response::MsChapV2).ok_or(Untranslated::MalformedResponse)
    }
}

fn typed(hidden: &[u8], packet: &Packet<'_>, secret: Option<&SharedSecret>) -> Result<Secret, Untranslated> {
    let typed = match secret {
        Some(secret) => secret
            .reveal(hidden, packet.authenticator())
            .ok_or(Untranslated::MalformedPassword)?,
        None if hidden.len() > MAX_PASSWORD => return Err(Refusal::LongPassword.into()),
        None => Secret::new(hidden),
    };
    if typed.is_empty() {
        return Err(Refusal::EmptyPassword.into());
    }
    Ok(typed)
}

/// Fills `slot`.
///
/// # Errors
/// `repeated` when it is filled already.
pub(super) fn once<'a>(slot: &mut Option<&'a [u8]>, value: &'a [u8], repeated: Refusal) -> Result<(), Refusal> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(repeated),
    }
}

/// The identifier of the MS-CHAPv2 response that this attribute holds.
pub(super) fn ms_chap2_identifier(attribute: Attribute<'_>) -> Option<u8> {
    let (vendor, rest) = attribute.value.split_first_chunk::<4>()?;
    if attribute.kind != VENDOR_SPECIFIC || u32::from_be_bytes(*vendor) != VENDOR_MICROSOFT {
        return None;
    }
    let response = Attributes::new(rest).find(|attribute| attribute.kind == MS_CHAP2_RESPONSE)?;
    response.value.first().copied()
}

/// Writes what a peer that was let in by MS-CHAPv2 wants to see and the client needs: MS-CHAP2-Success and
/// the keys for MPPE, hidden where there is a secret to hide them with.
///
/// # Errors
/// [`Overflow`]. The peer would not believe an Access-Accept without these.
pub(super) fn write_success(
    success: &MsChapSuccess,
    secret: Option<&SharedSecret>,
    request: &[u8; AUTHENTICATOR_LEN],
    salts: &mut Salts,
    writer: &mut Writer<'_>,
) -> Result<(), Overflow> {
    push_microsoft(writer, MS_CHAP2_SUCCESS, &success_text(success))?;
    push_microsoft(writer, MS_MPPE_ENCRYPTION_POLICY, &ENCRYPTION_ALLOWED.to_be_bytes())?;
    push_microsoft(writer, MS_MPPE_ENCRYPTION_TYPES, &RC4_128_BIT.to_be_bytes())?;
    let keys = [
        (MS_MPPE_SEND_KEY, &success.send_key),
        (MS_MPPE_RECV_KEY, &success.receive_key),
    ];
    for (kind, key) in keys {
        match secret {
            Some(secret) => {
                let hidden = secret.hide_salted(key, salts.fresh(), request).ok_or(Overflow)?;
                push_microsoft(writer, kind, &hidden)?;
            }
            None => push_microsoft(writer, kind, key.expose())?,
        }
    }
    Ok(())
}

/// Writes MS-CHAP-Error (RFC 2548 section 2.1.5, RFC 2759 section 6): one and the same for every refusal,
/// with a challenge that nobody is invited to answer.
///
/// # Errors
/// [`Overflow`].
pub(super) fn write_error(identifier: u8, writer: &mut Writer<'_>) -> Result<(), Overflow> {
    let mut text = vec![identifier];
    text.extend_from_slice(b"E=691 R=0 C=");
    text.extend_from_slice(HEXUPPER.encode(&clock::random::<16>()).as_bytes());
    text.extend_from_slice(b" V=3");
    push_microsoft(writer, MS_CHAP_ERROR, &text)
}

/// Adds the CHAP response to a challenge made here, and the challenge: what a client does whose peer it is
/// itself.
///
/// # Errors
/// None in practice.
pub(super) fn push_chap(request: &mut Request, password: &Secret) -> Result<(), Overflow> {
    let challenge = clock::random::<16>();
    let [identifier] = clock::random::<1>();
    let response = Chap::response(identifier, password, &challenge);
    request.push(CHAP_PASSWORD, &[&[identifier], response.as_slice()].concat())?;
    request.push(CHAP_CHALLENGE, &challenge)
}

/// Adds the MS-CHAPv2 response to a challenge made here, and the challenge. Gives what the server has to
/// prove in return; `None` when the password is no text.
///
/// # Errors
/// None in practice.
pub(super) fn push_ms_chap2(
    request: &mut Request,
    user: &str,
    password: &Secret,
) -> Result<Option<Arc<MsChapSuccess>>, Overflow> {
    let peer = Peer {
        user: user.as_bytes(),
        password,
        challenge: &clock::random(),
        peer_challenge: &clock::random(),
    };
    let [identifier] = clock::random::<1>();
    let Some(response) = peer.response(identifier) else {
        return Ok(None);
    };
    request.push(VENDOR_SPECIFIC, &microsoft(MS_CHAP_CHALLENGE, peer.challenge)?)?;
    request.push(VENDOR_SPECIFIC, &microsoft(MS_CHAP2_RESPONSE, &response)?)?;
    Ok(peer.expected(identifier))
}

/// Whether an Access-Accept with these attributes has the MS-CHAP2-Success that is expected.
pub(super) fn proves(attributes: Attributes<'_>, expected: &MsChapSuccess) -> bool {
    let vendor = VENDOR_MICROSOFT.to_be_bytes();
    let microsoft = attributes
        .filter(|attribute| attribute.kind == VENDOR_SPECIFIC)
        .filter_map(|attribute| attribute.value.strip_prefix(&vendor));
    let text = success_text(expected);
    microsoft
        .flat_map(Attributes::new)
        .filter(|attribute| attribute.kind == MS_CHAP2_SUCCESS)
        // A message may follow (RFC 2759 section 5).
        .any(|attribute| attribute.value.starts_with(&text))
}

/// The identifier, `S=`, and 40 hexadecimal digits (RFC 2759 section 5).
fn success_text(success: &MsChapSuccess) -> Vec<u8> {
    let mut text = vec![success.identifier];
    text.extend_from_slice(b"S=");
    text.extend_from_slice(HEXUPPER.encode(&success.authenticator_response).as_bytes());
    text
}

fn push_microsoft(writer: &mut Writer<'_>, kind: u8, value: &[u8]) -> Result<(), Overflow> {
    writer.push(VENDOR_SPECIFIC, &microsoft(kind, value)?)
}

/// The value of a Vendor-Specific attribute of Microsoft's with one attribute in it.
fn microsoft(kind: u8, value: &[u8]) -> Result<Vec<u8>, Overflow> {
    let length = u8::try_from(value.len() + 2).map_err(|_| Overflow)?;
    let vendor = VENDOR_MICROSOFT.to_be_bytes();
    Ok([vendor.as_slice(), &[kind, length], value].concat())
}

/// MS-MPPE-Encryption-Policy (RFC 2548 section 2.4.4): the client may encrypt, and may do without.
const ENCRYPTION_ALLOWED: u32 = 1;

/// MS-MPPE-Encryption-Types (RFC 2548 section 2.4.5): 128-bit keys only; the keys of 40 bits protect nothing.
const RC4_128_BIT: u32 = 4;
