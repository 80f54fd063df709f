//! Headers of pages and files. What a page may do is decided here: the content security policies
//! that were measured to work in browsers, and nothing from a request that was not checked first.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// Longest `Host` that is believed: 253 bytes of name, a colon and a port.
const HOST_BYTES_MAX: usize = 259;

/// Who may show the widget's page in a frame.
#[derive(Debug, Clone, Copy)]
pub(super) enum Frame<'a> {
    /// Nobody: it is looked at directly.
    Nobody,
    /// Pages of these origins, checked when the job file was read.
    Origins(&'a [String]),
}

/// The policy of the widget's page and of its worker, which obeys the one on its own file.
pub(super) fn widget_policy(headers: &HeaderMap, frame: Frame<'_>) -> HeaderValue {
    // Browsers older than 2023 do not count a WebSocket to the page's own host as 'self'.
    let sockets = host(headers).map_or_else(String::new, |host| format!(" ws://{host} wss://{host}"));
    let ancestors = match frame {
        Frame::Nobody => "'none'".to_owned(),
        Frame::Origins(origins) => origins.join(" "),
    };
    let policy = format!(
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'{sockets}; \
         style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}"
    );
    // Hosts and origins are plain ASCII by now; should that ever change, nothing may run.
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"))
}

/// The policy of the dashboard, and of every other page.
pub(super) const DASHBOARD_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// What a page needs so that its frame stays isolated and fits into isolated pages.
pub(super) const ISOLATED: [(HeaderName, HeaderValue); 2] = [
    (HeaderName::from_static("cross-origin-embedder-policy"), HeaderValue::from_static("require-corp")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin")),
];

/// The request's host, if it is nothing but a host and a port: it goes into a policy, so that a
/// space or semicolon in it would be another rule.
fn host(headers: &HeaderMap) -> Option<&str> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
    (!host.is_empty() && host.len() <= HOST_BYTES_MAX && host.bytes().all(plain)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &[u8], connect: &str) {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_bytes(host).expect("a header"));
        let policy =
            widget_policy(&headers, Frame::Origins(&["https://example.org".to_owned(), "https://b.test".to_owned()]));
        let policy = policy.to_str().expect("text");
        assert!(policy.contains(&format!("; {connect}; style-src")), "{policy}");
        assert!(policy.ends_with("; frame-ancestors https://example.org https://b.test"), "{policy}");
    }

    #[test]
    fn the_host_is_allowed_for_sockets() {
        check(b"localhost:8080", "connect-src 'self' ws://localhost:8080 wss://localhost:8080");
        check(b"[::1]:8080", "connect-src 'self' ws://[::1]:8080 wss://[::1]:8080");
    }

    #[test]
    fn a_host_that_is_more_than_a_host_is_left_out() {
        check(b"evil.test; script-src *", "connect-src 'self'");
        check(b"a b", "connect-src 'self'");
        check(b"a,b", "connect-src 'self'");
        check("ü.test".as_bytes(), "connect-src 'self'");
        check(&[b'a'; 300], "connect-src 'self'");
    }
}
