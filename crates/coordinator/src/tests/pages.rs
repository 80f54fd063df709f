//! Headers of the pages, where the pages were built; a plain word where they were not.

use super::site::{Answer, Ground, Site};

/// The page's answer, unless this build has no pages; then that is said.
async fn page(site: &Site, path: &str) -> Option<Answer> {
    let answer = site.get(path).await;
    if potluck_www::www_missing() {
        answer.refused(503, "internal");
        assert!(answer.json()["detail"].as_str().is_some_and(|text| text.contains("cargo xtask build")));
        return None;
    }
    assert_eq!(answer.status, 200, "{path}");
    Some(answer)
}

#[tokio::test]
async fn the_widget_is_framed_by_the_jobs_origins_alone() {
    let ground = Ground::new();
    let site = ground.start().await;
    let Some(answer) = page(&site, "/widget/tiny").await else { return };
    let policy = answer.header("content-security-policy").expect("a policy");
    assert!(policy.ends_with("frame-ancestors https://example.org http://localhost:9000"), "{policy}");
    assert!(policy.contains(&format!("connect-src 'self' ws://{0} wss://{0};", site.address)), "{policy}");
    assert_eq!(answer.header("cross-origin-embedder-policy"), Some("require-corp"));
    assert_eq!(answer.header("cross-origin-resource-policy"), Some("cross-origin"));
    assert_eq!(answer.header("x-frame-options"), None);
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
}

#[tokio::test]
async fn the_first_party_pages_are_never_framed() {
    let ground = Ground::new();
    let site = ground.start().await;
    for path in ["/", "/join/tiny"] {
        let Some(answer) = page(&site, path).await else { return };
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'") && policy.ends_with("frame-ancestors 'none'"), "{policy}");
    }
}

#[tokio::test]
async fn the_embed_script_may_be_loaded_anywhere() {
    let ground = Ground::new();
    let site = ground.start().await;
    let Some(answer) = page(&site, "/embed.js").await else { return };
    assert_eq!(answer.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("cross-origin-resource-policy"), Some("cross-origin"));
}

#[tokio::test]
async fn every_file_of_the_manifest_is_served_as_it_is() {
    let ground = Ground::new();
    let site = ground.start().await;
    let Some(manifest) = page(&site, "/manifest.json").await else { return };
    let manifest = manifest.json();
    for (path, about) in manifest.as_object().expect("a map of files") {
        let answer = site.get(&format!("/assets/{path}")).await;
        let hash = potluck_protocol::BlobId::of(&answer.body).to_string();
        assert_eq!((answer.status, Some(hash.as_str())), (200, about["sha256"].as_str()), "{path}");
        if path.ends_with(".wasm") {
            assert_eq!(answer.header("content-type"), Some("application/wasm"));
            assert_eq!(answer.header("cache-control"), Some("public, max-age=31536000, immutable"));
        }
        let unpacking = [("accept-encoding", "gzip")];
        let packed = site.request("GET", &format!("/assets/{path}"), &unpacking, b"").await;
        let is_packed = packed.header("content-encoding") == Some("gzip");
        assert!(packed.status == 200 && is_packed == (packed.body.len() < answer.body.len()), "{path}");
        if path.contains("/worker.") {
            let policy = answer.header("content-security-policy").expect("a worker has its own policy");
            assert!(policy.contains("script-src 'self' 'wasm-unsafe-eval'"), "{policy}");
            assert_eq!(answer.header("cross-origin-embedder-policy"), Some("require-corp"));
        }
    }
}

#[tokio::test]
async fn nothing_outside_the_built_files_is_served() {
    let ground = Ground::new();
    let site = ground.start().await;
    for path in ["../Cargo.toml", "..%2fCargo.toml", "%2e%2e/Cargo.toml", "/etc/passwd", &"a".repeat(300)] {
        let answer = site.get(&format!("/assets/{path}")).await;
        assert!(answer.status == 404 || answer.status == 503, "{path}: {}", answer.status);
    }
}
