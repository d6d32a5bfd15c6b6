//! What helpdesk does to accounts, one or many, now or later.
