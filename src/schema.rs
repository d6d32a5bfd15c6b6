//! Attribute types that have more than one name: their numbers, their short and long names, and which is a
//! subtype of which (RFC 4519, RFC 4524, RFC 2798, RFC 2307, RFC 4512; what OpenLDAP and Active Directory add).
//!
//! For access checks: whoever hides an attribute means it under each of its names. A number that is not in
//! here names something that we do not know, and has to be taken for the worst.

use std::collections::HashMap;
use std::sync::LazyLock;

/// One attribute type.
#[derive(Debug)]
pub struct AttributeType {
    /// Its number.
    pub oid: &'static str,
    /// Its names, in lower case, the short one first.
    pub names: &'static [&'static str],
    /// The name of the type that it is a subtype of: a search for that one finds this one's values as well.
    pub supertype: Option<&'static str>,
}

impl AttributeType {
    /// The name that stands for all of them.
    pub fn name(&self) -> &'static str {
        self.names.first().copied().unwrap_or(self.oid)
    }
}

/// The type called `name`: a name or number in lower case.
pub fn attribute_type(name: &str) -> Option<&'static AttributeType> {
    BY_NAME.get(name).copied()
}

/// The types that are subtypes of the one called `name`, and theirs.
pub fn subtypes(name: &str) -> Vec<&'static AttributeType> {
    let mut found: Vec<&'static AttributeType> = Vec::new();
    let mut open = vec![name];
    while let Some(above) = open.pop() {
        for below in TYPES.iter().filter(|below| below.supertype == Some(above)) {
            open.push(below.name());
            found.push(below);
        }
    }
    found
}

/// Whether `text` can be the number of an attribute type.
pub fn is_number(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|octet| octet.is_ascii_digit()) && (part == "0" || !part.starts_with('0'))
    };
    text.contains('.') && text.split('.').all(part)
}

/// Whether `text` can be the name of an attribute type. Some servers have names with an underscore.
pub fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
}

static BY_NAME: LazyLock<HashMap<&'static str, &'static AttributeType>> = LazyLock::new(|| {
    let called = |of: &'static AttributeType| of.names.iter().copied().chain([of.oid]).map(move |name| (name, of));
    TYPES.iter().flat_map(called).collect()
});

const fn of(oid: &'static str, names: &'static [&'static str]) -> AttributeType {
    AttributeType {
        oid,
        names,
        supertype: None,
    }
}

const fn below(supertype: &'static str, oid: &'static str, names: &'static [&'static str]) -> AttributeType {
    AttributeType {
        oid,
        names,
        supertype: Some(supertype),
    }
}

static TYPES: &[AttributeType] = &[
    // RFC 4512
    of("2.5.4.0", &["objectclass"]),
    of("2.5.4.1", &["aliasedobjectname", "aliasedentryname"]),
    of("2.5.18.1", &["createtimestamp"]),
    of("2.5.18.2", &["modifytimestamp"]),
    of("2.5.18.3", &["creatorsname"]),
    of("2.5.18.4", &["modifiersname"]),
    of("2.5.18.9", &["hassubordinates"]),
    of("2.5.18.10", &["subschemasubentry"]),
    of("2.5.21.9", &["structuralobjectclass"]),
    of("1.3.6.1.1.16.4", &["entryuuid"]),
    of("1.3.6.1.1.20", &["entrydn"]),
    of("1.3.6.1.4.1.4203.666.1.7", &["entrycsn"]),
    of("1.3.6.1.4.1.1466.101.120.5", &["namingcontexts"]),
    of("1.3.6.1.4.1.1466.101.120.6", &["altserver"]),
    of("1.3.6.1.4.1.1466.101.120.7", &["supportedextension"]),
    of("1.3.6.1.4.1.1466.101.120.13", &["supportedcontrol"]),
    of("1.3.6.1.4.1.1466.101.120.14", &["supportedsaslmechanisms"]),
    of("1.3.6.1.4.1.1466.101.120.15", &["supportedldapversion"]),
    of("1.3.6.1.4.1.4203.1.3.5", &["supportedfeatures"]),
    of("1.3.6.1.1.4", &["vendorname"]),
    of("1.3.6.1.1.5", &["vendorversion"]),
    // RFC 4519
    of("2.5.4.41", &["name"]),
    of("2.5.4.49", &["distinguishedname", "dn"]),
    below("name", "2.5.4.3", &["cn", "commonname"]),
    below("name", "2.5.4.4", &["sn", "surname"]),
    of("2.5.4.5", &["serialnumber"]),
    below("name", "2.5.4.6", &["c", "countryname"]),
    below("name", "2.5.4.7", &["l", "localityname", "locality"]),
    below("name", "2.5.4.8", &["st", "stateorprovincename"]),
    of("2.5.4.9", &["street", "streetaddress"]),
    below("name", "2.5.4.10", &["o", "organizationname"]),
    below("name", "2.5.4.11", &["ou", "organizationalunitname"]),
    below("name", "2.5.4.12", &["title"]),
    of("2.5.4.13", &["description"]),
    of("2.5.4.14", &["searchguide"]),
    of("2.5.4.15", &["businesscategory"]),
    of("2.5.4.16", &["postaladdress"]),
    of("2.5.4.17", &["postalcode"]),
    of("2.5.4.18", &["postofficebox"]),
    of("2.5.4.19", &["physicaldeliveryofficename"]),
    of("2.5.4.20", &["telephonenumber"]),
    of("2.5.4.21", &["telexnumber"]),
    of("2.5.4.22", &["teletexterminalidentifier"]),
    of("2.5.4.23", &["facsimiletelephonenumber", "fax"]),
    of("2.5.4.24", &["x121address"]),
    of("2.5.4.25", &["internationalisdnnumber"]),
    below("postaladdress", "2.5.4.26", &["registeredaddress"]),
    of("2.5.4.27", &["destinationindicator"]),
    of("2.5.4.28", &["preferreddeliverymethod"]),
    below("distinguishedname", "2.5.4.31", &["member"]),
    below("distinguishedname", "2.5.4.32", &["owner"]),
    below("distinguishedname", "2.5.4.33", &["roleoccupant"]),
    below("distinguishedname", "2.5.4.34", &["seealso"]),
    of("2.5.4.35", &["userpassword"]),
    of("2.5.4.36", &["usercertificate"]),
    of("2.5.4.37", &["cacertificate"]),
    of("2.5.4.40", &["crosscertificatepair"]),
    below("name", "2.5.4.42", &["givenname", "gn"]),
    below("name", "2.5.4.43", &["initials"]),
    below("name", "2.5.4.44", &["generationqualifier"]),
    of("2.5.4.45", &["x500uniqueidentifier"]),
    of("2.5.4.46", &["dnqualifier"]),
    of("2.5.4.47", &["enhancedsearchguide"]),
    of("2.5.4.50", &["uniquemember"]),
    of("2.5.4.51", &["houseidentifier"]),
    below("name", "2.5.4.54", &["dmdname"]),
    below("name", "2.5.4.65", &["pseudonym"]),
    of("0.9.2342.19200300.100.1.1", &["uid", "userid"]),
    // RFC 2985
    of("1.2.840.113549.1.9.1", &["email", "emailaddress", "pkcs9email"]),
    of("0.9.2342.19200300.100.1.25", &["dc", "domaincomponent"]),
    // RFC 4524
    of("0.9.2342.19200300.100.1.3", &["mail", "rfc822mailbox"]),
    of("0.9.2342.19200300.100.1.4", &["info"]),
    of("0.9.2342.19200300.100.1.5", &["drink", "favouritedrink"]),
    of("0.9.2342.19200300.100.1.6", &["roomnumber"]),
    of("0.9.2342.19200300.100.1.7", &["photo"]),
    of("0.9.2342.19200300.100.1.8", &["userclass"]),
    of("0.9.2342.19200300.100.1.9", &["host"]),
    of("0.9.2342.19200300.100.1.10", &["manager"]),
    of("0.9.2342.19200300.100.1.11", &["documentidentifier"]),
    of("0.9.2342.19200300.100.1.12", &["documenttitle"]),
    of("0.9.2342.19200300.100.1.13", &["documentversion"]),
    of("0.9.2342.19200300.100.1.14", &["documentauthor"]),
    of("0.9.2342.19200300.100.1.15", &["documentlocation"]),
    of("0.9.2342.19200300.100.1.20", &["homephone", "hometelephonenumber"]),
    of("0.9.2342.19200300.100.1.21", &["secretary"]),
    of("0.9.2342.19200300.100.1.22", &["othermailbox"]),
    of("0.9.2342.19200300.100.1.37", &["associateddomain"]),
    of("0.9.2342.19200300.100.1.38", &["associatedname"]),
    of("0.9.2342.19200300.100.1.39", &["homepostaladdress"]),
    of("0.9.2342.19200300.100.1.40", &["personaltitle"]),
    of("0.9.2342.19200300.100.1.41", &["mobile", "mobiletelephonenumber"]),
    of("0.9.2342.19200300.100.1.42", &["pager", "pagertelephonenumber"]),
    of("0.9.2342.19200300.100.1.43", &["co", "friendlycountryname"]),
    of("0.9.2342.19200300.100.1.44", &["uniqueidentifier"]),
    of("0.9.2342.19200300.100.1.45", &["organizationalstatus"]),
    of("0.9.2342.19200300.100.1.48", &["buildingname"]),
    of("0.9.2342.19200300.100.1.55", &["audio"]),
    of("0.9.2342.19200300.100.1.56", &["documentpublisher"]),
    of("0.9.2342.19200300.100.1.60", &["jpegphoto"]),
    // RFC 2798, RFC 2079, RFC 3112
    of("2.16.840.1.113730.3.1.1", &["carlicense"]),
    of("2.16.840.1.113730.3.1.2", &["departmentnumber"]),
    of("2.16.840.1.113730.3.1.3", &["employeenumber"]),
    of("2.16.840.1.113730.3.1.4", &["employeetype"]),
    of("2.16.840.1.113730.3.1.39", &["preferredlanguage"]),
    of("2.16.840.1.113730.3.1.40", &["usersmimecertificate"]),
    of("2.16.840.1.113730.3.1.216", &["userpkcs12"]),
    of("2.16.840.1.113730.3.1.241", &["displayname"]),
    of("1.3.6.1.4.1.250.1.57", &["labeleduri", "labeledurl"]),
    of("1.3.6.1.4.1.4203.1.3.4", &["authpassword"]),
    // Dynamic groups (OpenLDAP)
    below("labeleduri", "2.16.840.1.113730.3.1.198", &["memberurl"]),
    // RFC 2307
    of("1.3.6.1.1.1.1.0", &["uidnumber"]),
    of("1.3.6.1.1.1.1.1", &["gidnumber"]),
    of("1.3.6.1.1.1.1.2", &["gecos"]),
    of("1.3.6.1.1.1.1.3", &["homedirectory"]),
    of("1.3.6.1.1.1.1.4", &["loginshell"]),
    of("1.3.6.1.1.1.1.5", &["shadowlastchange"]),
    of("1.3.6.1.1.1.1.6", &["shadowmin"]),
    of("1.3.6.1.1.1.1.7", &["shadowmax"]),
    of("1.3.6.1.1.1.1.8", &["shadowwarning"]),
    of("1.3.6.1.1.1.1.9", &["shadowinactive"]),
    of("1.3.6.1.1.1.1.10", &["shadowexpire"]),
    of("1.3.6.1.1.1.1.11", &["shadowflag"]),
    of("1.3.6.1.1.1.1.12", &["memberuid"]),
    below("name", "1.3.6.1.1.1.1.16", &["ipserviceprotocol"]),
    below("name", "1.3.6.1.1.1.1.26", &["nismapname"]),
    // draft-behera-ldap-password-policy-10
    of("1.3.6.1.4.1.42.2.27.8.1.16", &["pwdchangedtime"]),
    of("1.3.6.1.4.1.42.2.27.8.1.17", &["pwdaccountlockedtime"]),
    of("1.3.6.1.4.1.42.2.27.8.1.19", &["pwdfailuretime"]),
    of("1.3.6.1.4.1.42.2.27.8.1.20", &["pwdhistory", "passwordhistory"]),
    of("1.3.6.1.4.1.42.2.27.8.1.21", &["pwdgraceusetime"]),
    of("1.3.6.1.4.1.42.2.27.8.1.22", &["pwdreset"]),
    of("1.3.6.1.4.1.42.2.27.8.1.23", &["pwdpolicysubentry"]),
    // Active Directory, Samba
    of("1.2.840.113556.1.2.102", &["memberof"]),
    of("1.2.840.113556.1.4.2", &["objectguid"]),
    of("1.2.840.113556.1.4.8", &["useraccountcontrol"]),
    of("1.2.840.113556.1.4.35", &["employeeid"]),
    of("1.2.840.113556.1.4.55", &["dbcspwd"]),
    of("1.2.840.113556.1.4.90", &["unicodepwd"]),
    of("1.2.840.113556.1.4.94", &["ntpwdhistory"]),
    of("1.2.840.113556.1.4.125", &["supplementalcredentials"]),
    of("1.2.840.113556.1.4.146", &["objectsid"]),
    of("1.2.840.113556.1.4.160", &["lmpwdhistory"]),
    of("1.2.840.113556.1.4.221", &["samaccountname"]),
    of("1.2.840.113556.1.4.656", &["userprincipalname"]),
    of("1.3.6.1.4.1.7165.2.1.24", &["sambalmpassword"]),
    of("1.3.6.1.4.1.7165.2.1.25", &["sambantpassword"]),
    of("1.3.6.1.4.1.7165.2.1.54", &["sambapasswordhistory"]),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_and_number_stands_for_one_type() {
        let mut seen = HashSet::new();
        for each in TYPES {
            assert!(is_number(each.oid) && !each.names.is_empty());
            for name in each.names.iter().chain([&each.oid]) {
                assert_eq!(*name, name.to_ascii_lowercase());
                assert!(seen.insert(*name), "{name}");
            }
            if let Some(above) = each.supertype {
                assert_eq!(attribute_type(above).map(AttributeType::name), Some(above));
            }
        }
    }

    #[test]
    fn subtypes_are_found_to_the_last() {
        let names: Vec<&str> = subtypes("name").iter().map(|below| below.name()).collect();
        assert!(names.contains(&"cn") && names.contains(&"ou") && !names.contains(&"uid"));
        assert_eq!(attribute_type("2.5.4.3").map(AttributeType::name), Some("cn"));
        assert_eq!(attribute_type("surname").map(AttributeType::name), Some("sn"));
        assert!(subtypes("userpassword").is_empty());
    }
}
