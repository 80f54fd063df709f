//! The `Range` header (RFC 9110, section 14), as far as resumed downloads need it: one range of bytes
//! with a first position. Anything else is answered with the whole, as the RFC allows.

/// What was asked for of a body of known length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    /// Bytes from `start` up to `end`, which is after the last.
    Of { start: usize, end: usize },
    /// It begins where nothing is any more.
    Beyond,
}

impl Range {
    /// `bytes=FIRST-` or `bytes=FIRST-LAST`; `None` for everything else.
    pub(super) fn parse(value: &str, length: usize) -> Option<Self> {
        let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
        let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        let start: usize = number(first)?;
        let end = if last.is_empty() { length } else { number(last)?.saturating_add(1).min(length) };
        if start >= length {
            return Some(Self::Beyond);
        }
        (start < end).then_some(Self::Of { start, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected: Option<Range>) {
        assert_eq!(Range::parse(value, 10), expected, "{value}");
    }

    #[test]
    fn one_range_with_a_beginning() {
        check("bytes=0-", Some(Range::Of { start: 0, end: 10 }));
        check("bytes=4-", Some(Range::Of { start: 4, end: 10 }));
        check("bytes=4-4", Some(Range::Of { start: 4, end: 5 }));
        check("bytes=4-99", Some(Range::Of { start: 4, end: 10 }));
        check("bytes=4-18446744073709551615", Some(Range::Of { start: 4, end: 10 }));
        check("bytes=10-", Some(Range::Beyond));
    }

    #[test]
    fn everything_else_is_the_whole() {
        for value in
            ["", "bytes", "bytes=", "bytes=-4", "bytes=5-4", "bytes=1-2,4-5", "bytes=+1-", "items=1-", "bytes=a-"]
        {
            check(value, None);
        }
        check("bytes=99999999999999999999-", None);
    }
}
