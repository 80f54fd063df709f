//! Rules of the session, one case each.
