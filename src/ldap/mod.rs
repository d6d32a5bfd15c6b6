//! The LDAP front end.
