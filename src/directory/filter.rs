//! Search filters on the wire (RFC 4511 section 4.5.1.7).

use crate::ber;

pub use crate::engine::filter::{Comparison, Filter, FilterError, Part};

/// Appends the filter's BER.
pub fn encode(filter: &Filter, out: &mut Vec<u8>) {
    match filter {
        Filter::And(filters) => encode_all(0xa0, filters, out),
        Filter::Or(filters) => encode_all(0xa1, filters, out),
        Filter::Not(filter) => ber::write_with(0xa2, out, |out| encode(filter, out)),
        Filter::Compare(comparison, attribute, value) => {
            let tag = match comparison {
                Comparison::Equal => 0xa3,
                Comparison::GreaterOrEqual => 0xa5,
                Comparison::LessOrEqual => 0xa6,
                Comparison::Approximate => 0xa8,
            };
            ber::write_with(tag, out, |out| {
                ber::write(ber::OCTET_STRING, attribute.as_bytes(), out);
                ber::write(ber::OCTET_STRING, value, out);
            });
        }
        Filter::Present(attribute) => ber::write(0x87, attribute.as_bytes(), out),
        Filter::Substrings(attribute, parts) => ber::write_with(0xa4, out, |out| {
            ber::write(ber::OCTET_STRING, attribute.as_bytes(), out);
            ber::write_with(ber::SEQUENCE, out, |out| {
                for (part, value) in parts {
                    let tag = match part {
                        Part::Initial => 0x80,
                        Part::Any => 0x81,
                        Part::Final => 0x82,
                    };
                    ber::write(tag, value, out);
                }
            });
        }),
        Filter::Extensible {
            rule,
            attribute,
            value,
            dn,
        } => ber::write_with(0xa9, out, |out| {
            if let Some(rule) = rule {
                ber::write(0x81, rule.as_bytes(), out);
            }
            if let Some(attribute) = attribute {
                ber::write(0x82, attribute.as_bytes(), out);
            }
            ber::write(0x83, value, out);
            if *dn {
                ber::write(0x84, &[0xff], out);
            }
        }),
    }
}

fn encode_all(tag: u8, filters: &[Filter], out: &mut Vec<u8>) {
    ber::write_with(tag, out, |out| filters.iter().for_each(|filter| encode(filter, out)));
}

#[cfg(test)]
mod tests {
    use ldap3_proto::proto::{LdapFilter, LdapMsg, LdapOp};

    use super::*;

    /// Has another implementation decode the filter, inside a search.
    fn decoded(filter: &Filter) -> LdapFilter {
        let mut out = Vec::new();
        ber::write_with(ber::SEQUENCE, &mut out, |out| {
            ber::write_integer(ber::INTEGER, 1, out);
            ber::write_with(0x63, out, |out| {
                ber::write(ber::OCTET_STRING, b"dc=x", out);
                ber::write_integer(ber::ENUMERATED, 2, out);
                ber::write_integer(ber::ENUMERATED, 0, out);
                ber::write_integer(ber::INTEGER, 2, out);
                ber::write_integer(ber::INTEGER, 3, out);
                ber::write(ber::BOOLEAN, &[0], out);
                encode(filter, out);
                ber::write(ber::SEQUENCE, &[], out);
            });
        });
        let mut octets = bytes::BytesMut::from(&out[..]);
        let mut codec = ldap3_proto::LdapCodec::new(Some(1 << 20), None);
        let message: LdapMsg = tokio_util::codec::Decoder::decode(&mut codec, &mut octets)
            .unwrap()
            .unwrap();
        let LdapOp::SearchRequest(search) = message.op else {
            panic!()
        };
        search.filter
    }

    #[test]
    fn text_becomes_what_another_implementation_reads() {
        let equal = |attribute: &str, value: &str| LdapFilter::Equality(attribute.into(), value.into());
        for (text, expected) in [
            ("(uid=ana)", equal("uid", "ana")),
            (
                "(memberOf=cn=VPN users,ou=groups,dc=x)",
                equal("memberOf", "cn=VPN users,ou=groups,dc=x"),
            ),
            ("(cn=a\\2a\\28\\29\\5c)", equal("cn", "a*()\\")),
            (
                "(& (objectClass=person)\n (!(uid=root)) ) ",
                LdapFilter::And(vec![
                    equal("objectClass", "person"),
                    LdapFilter::Not(Box::new(equal("uid", "root"))),
                ]),
            ),
            (
                "(|(a=*)(b>=1)(c<=2)(d~=e))",
                LdapFilter::Or(vec![
                    LdapFilter::Present("a".into()),
                    LdapFilter::GreaterOrEqual("b".into(), "1".into()),
                    LdapFilter::LessOrEqual("c".into(), "2".into()),
                    LdapFilter::Approx("d".into(), "e".into()),
                ]),
            ),
        ] {
            assert_eq!(decoded(&Filter::parse(text).unwrap()), expected, "{text}");
        }
        let LdapFilter::Substring(name, parts) = decoded(&Filter::parse("(cn=a*b*c)").unwrap()) else {
            panic!()
        };
        assert_eq!(name, "cn");
        assert_eq!(parts.initial.as_deref(), Some("a"));
        assert_eq!((parts.any, parts.final_.as_deref()), (vec!["b".to_owned()], Some("c")));
        let bit = decoded(&Filter::parse("(userAccountControl:1.2.840.113556.1.4.803:=2)").unwrap());
        let LdapFilter::Extensible(rule) = bit else { panic!() };
        assert_eq!(rule.matching_rule.as_deref(), Some("1.2.840.113556.1.4.803"));
        assert_eq!(
            (rule.type_.as_deref(), rule.match_value.as_str()),
            (Some("userAccountControl"), "2")
        );
        assert_eq!(
            Filter::parse("(cn:dn:2.4.6.8.10:=Dino)").unwrap(),
            Filter::Extensible {
                rule: Some("2.4.6.8.10".into()),
                attribute: Some("cn".into()),
                value: b"Dino".to_vec(),
                dn: true
            }
        );
    }

    #[test]
    fn hostile_names_stay_values() {
        for name in ["*", "*)(uid=*", "ana)(|(uid=*))", "a\\2a", "a\0b", "(", "ü*"] {
            let filter = Filter::And(vec![Filter::Present("objectClass".into()), Filter::equal("uid", name)]);
            let expected = LdapFilter::And(vec![
                LdapFilter::Present("objectClass".into()),
                LdapFilter::Equality("uid".into(), name.into()),
            ]);
            assert_eq!(decoded(&filter), expected, "{name}");
        }
        let group = Filter::parse("(&(objectClass=group)(member={dn}))").unwrap();
        let filled = group.filled(&[("dn", b"cn=*)(cn={dn}*,dc=x")]);
        assert_eq!(
            filled,
            Filter::And(vec![
                Filter::equal("objectClass", "group"),
                Filter::equal("member", "cn=*)(cn={dn}*,dc=x")
            ])
        );
    }
}
