//! Where the response of an offline token would do, everybody is shown a challenge: also who has none, and who does
//! not exist.

use crate::engine::authenticator::{Kind, KindSet, ocra};
use crate::engine::login::Engine;
use crate::engine::request::AuthnRequest;
use crate::engine::texts::Text;
use crate::engine::verdict::Prompt;

/// Asks for the response to a challenge of this dialog's own, named by `id`, where it is among the `useful` codes.
pub(super) fn with_challenge(
    mut prompt: Prompt,
    engine: &Engine,
    request: &AuthnRequest,
    useful: KindSet,
    id: u64,
) -> Prompt {
    if useful.has(Kind::Ocra) {
        prompt.text = text(engine, request, useful, id);
        prompt.dialog.sent = Some(id);
    }
    prompt
}

/// What asks for a response, or for it or another of the `useful` codes.
pub(super) fn text(engine: &Engine, request: &AuthnRequest, useful: KindSet, id: u64) -> String {
    let text = match useful.codes().without(KindSet::of(Kind::Ocra)).is_empty() {
        true => Text::Ocra,
        false => Text::CodeOrOcra,
    };
    let challenge = ocra::grouped(&ocra::challenge(&engine.keyring, id));
    let voice = engine.policy.texts.voice(&request.origin.manner, None);
    voice.say(text, &[("challenge", &challenge)])
}
