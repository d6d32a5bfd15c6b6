//! Deliveries of codes, from the configuration to the ones that are used.

use std::sync::Arc;

use crate::admin::api::{ApiError, DeliveryTestRequest, DeliveryTested, ErrorKind};
use crate::clock;
use crate::config::Config;
use crate::delivery::{Deliveries, Delivery};
use crate::document::{Document, Faults, Severity};
use crate::engine::authenticator::KindSet;
use crate::engine::delivery::{Delivered, Message, Routes};
use crate::engine::policy::{Policy, Ruling};

/// Prepares the deliveries, and tells the policy of them. Blocks.
pub(super) fn prepare(
    config: &Config,
    policy: &mut Policy,
    document: &Document<'_>,
    faults: &mut Faults,
) -> Arc<Deliveries> {
    let mut deliveries = Deliveries::new();
    let mut routes = Routes::default();
    for (index, settings) in config.deliveries.iter().enumerate() {
        match Delivery::new(settings) {
            Ok(delivery) => {
                routes.0.push(Arc::clone(delivery.route()));
                deliveries.insert(settings.name.clone(), delivery);
            }
            Err(fault) => {
                let path = ["delivery", &index.to_string(), fault.key];
                faults.0.push(document.fault(&path, fault.message));
                // What is asked for is there, only broken.
                return Arc::default();
            }
        }
    }
    settle(policy, &routes, faults);
    policy.routes = routes;
    Arc::new(deliveries)
}

/// Whether whatever rules have sent can be sent.
fn settle(policy: &Policy, routes: &Routes, faults: &mut Faults) {
    let served = routes.kinds();
    for rule in &policy.rules {
        let Ruling::Require(terms) = &rule.ruling else {
            continue;
        };
        let wanted = terms.requirement.kinds();
        for kind in KindSet::SENT
            .iter()
            .filter(|kind| wanted.has(*kind) && !served.has(*kind))
        {
            let text = format!("requires \"{kind}\", but there is no [[delivery]] that serves it");
            faults.0.push(rule.fault(Severity::Error, text));
        }
    }
}

/// Sends a code that proves nothing, for an operator.
///
/// # Errors
/// When there is no such delivery, or the destination is none.
pub(super) async fn test(deliveries: &Deliveries, request: &DeliveryTestRequest) -> Result<DeliveryTested, ApiError> {
    let Some(delivery) = deliveries.get(&request.delivery) else {
        let error = format!("there is no [[delivery]] named \"{}\"", request.delivery);
        let names: Vec<&str> = deliveries.keys().map(String::as_str).collect();
        let remedy = match names.as_slice() {
            [] => "the configuration has none".to_owned(),
            names => format!("there are {}", names.join(", ")),
        };
        return Err(ApiError::new(ErrorKind::NotFound, error).with_remedy(remedy));
    };
    let route = delivery.route();
    let destination = route
        .form
        .read(&request.to)
        .map_err(|why| ApiError::new(ErrorKind::Invalid, format!("`{}`: {why}", request.to)))?;
    let to = destination.as_str().to_owned();
    let message = Message {
        destination,
        code: route.code(u64::from_be_bytes(clock::random())),
        minutes: route.life.as_secs().div_ceil(60),
        login: "test".into(),
        service: "test".into(),
    };
    let (sent, answer) = match delivery.send(&message).await {
        Delivered::Sent(answer) => (true, answer),
        Delivered::Underway => (false, "it takes too long".to_owned()),
        Delivered::Refused(why) | Delivered::Busy(why) | Delivered::Unavailable(why) => (false, why),
    };
    Ok(DeliveryTested { to, sent, answer })
}

/// Deliveries whose configuration stays the same stay as they are, with what they know of their servers, unless
/// they use certificates, which may have been exchanged.
pub(super) fn keep(new: &Arc<Deliveries>, config: &Config, old: &Config, running: &Deliveries) -> Deliveries {
    let mut kept = (**new).clone();
    for settings in &config.deliveries {
        let same = settings.ca_file.is_none() && old.deliveries.contains(settings);
        if let Some(before) = running.get(&settings.name).filter(|_| same) {
            kept.insert(settings.name.clone(), Arc::clone(before));
        }
    }
    kept
}
