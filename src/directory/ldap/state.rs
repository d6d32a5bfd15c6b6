//! What each kind of server says of an account's state, and whom an entry names as manager.

use crate::clock::{self, Timestamp};
use crate::config::ServerKind;
use crate::directory::bind;
use crate::directory::filter::Filter;
use crate::directory::ldap::LdapDirectory;
use crate::directory::ldap::look_up::{NO_SUCH_OBJECT, SUCCESS, run};
use crate::directory::moment::{file_time, generalized_time};
use crate::directory::pool::Progress;
use crate::directory::search::{FoundEntry, Scope, Search};
use crate::engine::account::{AccountState, StateAnswer};
use crate::engine::{LoginName, Lookup, Person};

impl LdapDirectory {
    /// Reads the state of an entry anew, within the directory's time-out.
    pub(super) async fn read_state(&self, dn: &str) -> StateAnswer {
        let mut progress = Progress::default();
        let reading = self.state_unbounded(&mut progress, dn);
        match tokio::time::timeout(self.settings.timeout, reading).await {
            Ok(Ok(Some(state))) => StateAnswer::Known(state),
            Ok(Ok(None)) => StateAnswer::Unknown,
            Ok(Err(why)) => StateAnswer::Unavailable(why),
            Err(_) => StateAnswer::Unavailable(progress.timed_out(self.settings.timeout)),
        }
    }

    /// Finds the manager by the name that the entry has.
    pub(super) async fn read_manager(&self, person: &Person) -> Lookup {
        let mut progress = Progress::default();
        let attribute = self.settings.manager_attribute.clone();
        let reading = self.read_entry(&mut progress, &person.dn, vec![attribute]);
        let entry = match tokio::time::timeout(self.settings.timeout, reading).await {
            Ok(Ok(Some(entry))) => entry,
            Ok(Ok(None)) => return Lookup::Unknown,
            Ok(Err(why)) => return Lookup::Unavailable(why),
            Err(_) => return Lookup::Unavailable(progress.timed_out(self.settings.timeout)),
        };
        let mut named = entry.texts(&self.settings.manager_attribute);
        let (Some(dn), more) = (named.next(), named.next()) else {
            return Lookup::Unknown;
        };
        if more.is_some() {
            return Lookup::Ambiguous;
        }
        match LoginName::parse_dn(dn) {
            Ok(name) => self.find(name.form()).await,
            Err(_) => Lookup::Unknown,
        }
    }

    async fn state_unbounded(&self, progress: &mut Progress, dn: &str) -> Result<Option<AccountState>, String> {
        let settings = &self.settings;
        let mut wanted: Vec<String> = match settings.server {
            ServerKind::Openldap => OPENLDAP,
            ServerKind::Ds389 => DS389,
            ServerKind::ActiveDirectory => ACTIVE_DIRECTORY,
        }
        .iter()
        .map(|&name| name.to_owned())
        .collect();
        let flags = settings.disabled_by.iter().chain(&settings.enabled_by);
        wanted.extend(flags.map(|flag| flag.attribute.clone()));
        let Some(entry) = self.read_entry(progress, dn, wanted).await? else {
            return Ok(None);
        };
        let now = clock::now();
        let mut state = match settings.server {
            ServerKind::Openldap => {
                let policy = entry.texts("pwdPolicySubentry").next();
                let policy = match policy.or(settings.password_policy.as_deref()) {
                    Some(dn) => {
                        let wanted = ["pwdLockoutDuration", "pwdMaxAge", "pwdGraceAuthNLimit"];
                        self.read_entry(progress, dn, wanted.map(str::to_owned).to_vec())
                            .await?
                    }
                    None => None,
                };
                openldap(&entry, policy.as_ref(), now)
            }
            ServerKind::Ds389 => ds389(&entry, now),
            ServerKind::ActiveDirectory => {
                let domain = if entry.texts(COMPUTED).next().is_none() {
                    self.domain(progress).await?
                } else {
                    None
                };
                active_directory(&entry, domain.as_ref(), now)
            }
        };
        state.disabled |= self.is_blocked(&entry);
        Ok(Some(state))
    }

    /// The entry of the domain, which has its limits.
    async fn domain(&self, progress: &mut Progress) -> Result<Option<FoundEntry>, String> {
        let context = "defaultNamingContext";
        let root = self.read_entry(progress, "", vec![context.to_owned()]).await?;
        let Some(dn) = root.as_ref().and_then(|root| root.texts(context).next()) else {
            return Ok(None);
        };
        let wanted = ["lockoutDuration", "maxPwdAge"].map(str::to_owned).to_vec();
        self.read_entry(progress, dn, wanted).await
    }

    /// One entry by its name; `None` when it has gone, or is hidden from the account for look-ups. Sent again
    /// over a new connection when one that lay idle turns out to be closed.
    async fn read_entry(
        &self,
        progress: &mut Progress,
        dn: &str,
        attributes: Vec<String>,
    ) -> Result<Option<FoundEntry>, String> {
        let search = Search {
            base: dn,
            scope: Scope::Base,
            size_limit: 1,
            time_limit: 0,
            filter: &Filter::Present("objectClass".into()),
            attributes: &attributes,
        };
        let mut fresh = false;
        loop {
            let mut lease = self.reader(fresh, progress).await?;
            match run(lease.connection(), &search, 1).await {
                Ok(results) => {
                    lease.give_back();
                    return match results.code {
                        SUCCESS => Ok(results.entries.into_iter().next()),
                        NO_SUCH_OBJECT => Ok(None),
                        code => Err(format!(
                            "the server answered {}",
                            bind::describe(code, &results.diagnostic)
                        )),
                    };
                }
                Err(error) => {
                    let was_idle = lease.reused && error.is_closed();
                    let why = lease.failed(&error);
                    if !was_idle {
                        return Err(why);
                    }
                    fresh = true;
                }
            }
        }
    }
}

/// OpenLDAP's ppolicy (draft-behera-ldap-password-policy-10 section 5.3; slapo-ppolicy(5)). A lock whose
/// duration is not known counts as one that has no end.
fn openldap(entry: &FoundEntry, policy: Option<&FoundEntry>, now: Timestamp) -> AccountState {
    let limit = |name: &str| policy.and_then(|policy| number(policy, name)).and_then(positive);
    let mut state = AccountState {
        must_change: truth(entry, "pwdReset"),
        password_set: moment(entry, "pwdChangedTime"),
        ..AccountState::default()
    };
    let since = entry.texts("pwdAccountLockedTime").next();
    let permanently = since.is_some_and(|since| since.starts_with(PERMANENTLY));
    if let Some(since) = since.and_then(generalized_time) {
        state.locked = true;
        state.locked_until = limit("pwdLockoutDuration").map(|span| after(since, span));
    }
    if let Some(until) = moment(entry, "pwdAccountTmpLockoutEnd") {
        state.locked = true;
        state.locked_until = state.locked_until.max(Some(until));
    }
    over_by_now(&mut state, now);
    if permanently {
        (state.locked, state.locked_until, state.disabled) = (true, None, true);
    }
    state.disabled |= moment(entry, "pwdStartTime").is_some_and(|start| now < start);
    state.disabled |= moment(entry, "pwdEndTime").is_some_and(|end| end <= now);
    state.password_expires = limit("pwdMaxAge")
        .zip(state.password_set)
        .map(|(span, set)| after(set, span));
    state.expired = state.password_expires.is_some_and(|moment| moment <= now);
    if state.expired {
        let used = u32::try_from(entry.values("pwdGraceUseTime").count()).unwrap_or(u32::MAX);
        let allowed = limit("pwdGraceAuthNLimit").and_then(|allowed| u32::try_from(allowed).ok());
        state.grace_logins = policy.map(|_| allowed.unwrap_or(0).saturating_sub(used));
    }
    state
}

/// 389 Directory Server: a password to be changed is one that expired with the year 1970.
fn ds389(entry: &FoundEntry, now: Timestamp) -> AccountState {
    let expires = moment(entry, "passwordExpirationTime");
    let to_be_changed = expires.is_some_and(|moment| moment == Timestamp::from_secs(0));
    let mut state = AccountState {
        must_change: to_be_changed,
        disabled: truth(entry, "nsAccountLock"),
        expired: !to_be_changed && expires.is_some_and(|moment| moment <= now),
        password_set: moment(entry, "pwdUpdateTime"),
        password_expires: expires.filter(|_| !to_be_changed),
        ..AccountState::default()
    };
    if let Some(until) = moment(entry, "accountUnlockTime") {
        state.locked = true;
        // 1970 means: until an administrator unlocks it.
        state.locked_until = (until > Timestamp::from_secs(0)).then_some(until);
        over_by_now(&mut state, now);
    }
    state
}

/// Active Directory and Samba (MS-ADTS sections 3.1.1.4.5.17 and 3.1.1.4.5.42). What the server computes
/// counts; a server that does not compute is judged by the limits of its `domain`.
fn active_directory(entry: &FoundEntry, domain: Option<&FoundEntry>, now: Timestamp) -> AccountState {
    let flags = number(entry, "userAccountControl").unwrap_or(0);
    let set = number(entry, "pwdLastSet");
    // Intervals are negative; the smallest number means for ever.
    let span = |name: &str| {
        let ticks = number(domain?, name)?.checked_neg()?;
        positive(ticks / TICKS_IN_A_SECOND)
    };
    let mut state = AccountState {
        must_change: set == Some(0) && flags & NEVER_EXPIRES == 0,
        disabled: flags & ACCOUNT_DISABLE != 0,
        password_set: set.and_then(file_time),
        ..AccountState::default()
    };
    let account_ends = number(entry, "accountExpires").and_then(file_time);
    state.disabled |= account_ends.is_some_and(|end| end <= now);
    if let Some(computed) = number(entry, COMPUTED) {
        state.locked = computed & LOCKOUT != 0;
        state.expired = computed & PASSWORD_EXPIRED != 0 && !state.must_change;
        state.password_expires = number(entry, EXPIRY_COMPUTED).and_then(file_time);
    } else {
        if let Some(since) = number(entry, "lockoutTime").and_then(file_time) {
            state.locked = true;
            state.locked_until = span("lockoutDuration").map(|span| after(since, span));
            over_by_now(&mut state, now);
        }
        if flags & NEVER_EXPIRES == 0 {
            let age = span("maxPwdAge").zip(state.password_set);
            state.password_expires = age.map(|(span, set)| after(set, span));
            state.expired = state.password_expires.is_some_and(|moment| moment <= now);
        }
    }
    state
}

/// A lock that has ended is none.
fn over_by_now(state: &mut AccountState, now: Timestamp) {
    if state.locked_until.is_some_and(|until| until <= now) {
        state.locked = false;
        state.locked_until = None;
    }
}

fn truth(entry: &FoundEntry, name: &str) -> bool {
    entry.texts(name).any(|text| text.eq_ignore_ascii_case("true"))
}

fn moment(entry: &FoundEntry, name: &str) -> Option<Timestamp> {
    entry.texts(name).next().and_then(generalized_time)
}

fn number(entry: &FoundEntry, name: &str) -> Option<i64> {
    entry.texts(name).next()?.trim().parse().ok()
}

/// Zero and less set no limit.
fn positive(number: i64) -> Option<u64> {
    u64::try_from(number).ok().filter(|&number| number > 0)
}

fn after(moment: Timestamp, seconds: u64) -> Timestamp {
    Timestamp::from_millis(moment.millis().saturating_add(seconds.saturating_mul(1000)))
}

const OPENLDAP: &[&str] = &[
    "pwdAccountLockedTime",
    "pwdAccountTmpLockoutEnd",
    "pwdReset",
    "pwdChangedTime",
    "pwdGraceUseTime",
    "pwdPolicySubentry",
    "pwdStartTime",
    "pwdEndTime",
];
const DS389: &[&str] = &[
    "accountUnlockTime",
    "passwordExpirationTime",
    "pwdUpdateTime",
    "nsAccountLock",
];
const ACTIVE_DIRECTORY: &[&str] = &[
    "userAccountControl",
    COMPUTED,
    EXPIRY_COMPUTED,
    "lockoutTime",
    "pwdLastSet",
    "accountExpires",
];

/// How `pwdAccountLockedTime` says that only an administrator ends the lock; seconds may follow.
pub(super) const PERMANENTLY: &str = "000001010000";

const COMPUTED: &str = "msDS-User-Account-Control-Computed";
const EXPIRY_COMPUTED: &str = "msDS-UserPasswordExpiryTimeComputed";
/// ADS_UF_ACCOUNTDISABLE.
const ACCOUNT_DISABLE: i64 = 0x2;
/// ADS_UF_LOCKOUT.
const LOCKOUT: i64 = 0x10;
/// ADS_UF_DONT_EXPIRE_PASSWD.
const NEVER_EXPIRES: i64 = 0x1_0000;
/// ADS_UF_PASSWORD_EXPIRED.
const PASSWORD_EXPIRED: i64 = 0x80_0000;
const TICKS_IN_A_SECOND: i64 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// 2030-01-31 12:00:00.
    const NOW: Timestamp = Timestamp::from_secs(1_896_091_200);

    fn entry(attributes: &[(&str, &str)]) -> FoundEntry {
        FoundEntry::of("uid=ana,dc=x", attributes)
    }

    #[test]
    fn openldap_states() {
        let policy = entry(&[
            ("pwdLockoutDuration", "300"),
            ("pwdMaxAge", "86400"),
            ("pwdGraceAuthNLimit", "3"),
        ]);
        let judged = |attributes: &[(&str, &str)]| openldap(&entry(attributes), Some(&policy), NOW);
        let by_default = AccountState::default();
        assert_eq!(judged(&[]), by_default);
        let locked = judged(&[("pwdAccountLockedTime", "20300131115900Z")]);
        let until = Some(Timestamp::from_secs(NOW.secs() + 240));
        assert_eq!(
            (locked.locked, locked.locked_until, locked.disabled),
            (true, until, false)
        );
        assert_eq!(judged(&[("pwdAccountLockedTime", "20300131115500Z")]), by_default);
        for text in ["000001010000Z", "00000101000000Z"] {
            let permanent = judged(&[("pwdAccountLockedTime", text)]);
            assert_eq!(
                (permanent.locked, permanent.locked_until, permanent.disabled),
                (true, None, true)
            );
        }
        // Nobody knows when it ends.
        let unknown = openldap(&entry(&[("pwdAccountLockedTime", "20200131115500Z")]), None, NOW);
        assert_eq!((unknown.locked, unknown.locked_until), (true, None));
        let slowed = judged(&[("pwdAccountTmpLockoutEnd", "20300131120001Z")]);
        assert!(slowed.locked);
        assert!(!judged(&[("pwdAccountTmpLockoutEnd", "20300131115959Z")]).locked);

        assert!(judged(&[("pwdReset", "TRUE")]).must_change);
        assert!(!judged(&[("pwdReset", "FALSE")]).must_change);
        let old = judged(&[
            ("pwdChangedTime", "20300130115959Z"),
            ("pwdGraceUseTime", "20300131115959Z"),
        ]);
        assert_eq!((old.expired, old.grace_logins), (true, Some(2)));
        let young = judged(&[("pwdChangedTime", "20300130120001Z")]);
        assert_eq!((young.expired, young.grace_logins), (false, None));
        assert_eq!(young.password_expires, Some(Timestamp::from_secs(NOW.secs() + 1)));
        assert!(judged(&[("pwdEndTime", "20300131120000Z")]).disabled);
        assert!(judged(&[("pwdStartTime", "20300131120001Z")]).disabled);
    }

    #[test]
    fn ds389_states() {
        let judged = |attributes: &[(&str, &str)]| ds389(&entry(attributes), NOW);
        assert_eq!(judged(&[]), AccountState::default());
        let locked = judged(&[("accountUnlockTime", "20300131120001Z")]);
        assert_eq!(
            (locked.locked, locked.locked_until.map(Timestamp::secs)),
            (true, Some(NOW.secs() + 1))
        );
        assert!(!judged(&[("accountUnlockTime", "20300131120000Z")]).locked);
        let for_ever = judged(&[("accountUnlockTime", "19700101000000Z")]);
        assert_eq!((for_ever.locked, for_ever.locked_until), (true, None));
        let reset = judged(&[("passwordExpirationTime", "19700101000000Z")]);
        assert_eq!(
            (reset.must_change, reset.expired, reset.password_expires),
            (true, false, None)
        );
        let expired = judged(&[("passwordExpirationTime", "20300131120000Z")]);
        assert_eq!((expired.must_change, expired.expired), (false, true));
        assert!(!judged(&[("passwordExpirationTime", "20300131120001Z")]).expired);
        assert!(judged(&[("nsAccountLock", "true")]).disabled);
    }

    #[test]
    fn active_directory_states() {
        let domain = entry(&[("lockoutDuration", "-18000000000"), ("maxPwdAge", "-864000000000")]);
        let file_time = |moment: u64| ((moment + 11_644_473_600) * 10_000_000).to_string();
        let judged = |attributes: &[(&str, &str)]| active_directory(&entry(attributes), Some(&domain), NOW);
        assert_eq!(
            judged(&[("userAccountControl", "512"), ("lockoutTime", "0")]),
            AccountState::default()
        );
        assert!(judged(&[("userAccountControl", "514")]).disabled);
        assert!(judged(&[("pwdLastSet", "0")]).must_change);
        assert!(!judged(&[("pwdLastSet", "0"), ("userAccountControl", "66048")]).must_change);
        assert!(judged(&[("accountExpires", &file_time(NOW.secs()))]).disabled);
        for never in ["0", "9223372036854775807"] {
            assert!(!judged(&[("accountExpires", never)]).disabled);
        }
        // By what the server computes.
        let lockout = file_time(NOW.secs() - 60);
        assert!(judged(&[(COMPUTED, "16")]).locked);
        assert!(!judged(&[(COMPUTED, "0"), ("lockoutTime", &lockout)]).locked);
        assert!(judged(&[(COMPUTED, "8388608")]).expired);
        assert!(!judged(&[(COMPUTED, "8388608"), ("pwdLastSet", "0")]).expired);
        let expiring = judged(&[(COMPUTED, "0"), (EXPIRY_COMPUTED, &lockout)]);
        assert_eq!(expiring.password_expires.map(Timestamp::secs), Some(NOW.secs() - 60));
        // By the domain's limits.
        let locked = judged(&[("lockoutTime", &lockout)]);
        assert_eq!(
            (locked.locked, locked.locked_until.map(Timestamp::secs)),
            (true, Some(NOW.secs() + 1740))
        );
        assert!(!judged(&[("lockoutTime", &file_time(NOW.secs() - 1800))]).locked);
        assert!(active_directory(&entry(&[("lockoutTime", &lockout)]), None, NOW).locked);
        let old = file_time(NOW.secs() - 86_400);
        assert!(judged(&[("pwdLastSet", &old)]).expired);
        assert!(!judged(&[("pwdLastSet", &old), ("userAccountControl", "66048")]).expired);
    }
}
