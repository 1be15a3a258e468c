//! The page: each part of it is a file of its own, and part of the program.

/// A part of the page.
#[derive(Debug)]
pub(super) struct Part {
    path: &'static str,
    /// Its `Content-Type`.
    pub kind: &'static str,
    pub text: &'static str,
}

const PARTS: [Part; 4] = [
    Part { path: "/", kind: "text/html; charset=utf-8", text: include_str!("page/index.html") },
    Part { path: "/style.css", kind: "text/css; charset=utf-8", text: include_str!("page/style.css") },
    Part { path: "/app.js", kind: "text/javascript; charset=utf-8", text: include_str!("page/app.js") },
    Part { path: "/icon.svg", kind: "image/svg+xml", text: include_str!("page/icon.svg") },
];

/// The part at a path.
pub(super) fn find(path: &str) -> Option<&'static Part> {
    PARTS.iter().find(|part| part.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The policy that every answer carries forbids both, so they would not work.
    #[test]
    fn the_page_has_no_script_and_no_style_of_its_own_and_loads_only_its_parts() {
        let html = find("/").unwrap().text;
        let inline = regex_lite::Regex::new("<style|[ \n](style|on[a-z]+)=").unwrap();
        assert_eq!(inline.find(html).map(|found| found.as_str()), None);
        for (_, rest) in html.match_indices("<script").map(|(at, _)| html.split_at(at)) {
            assert!(rest.starts_with("<script src="), "{rest:.40}");
        }
        for attribute in ["src=\"", "href=\""] {
            for (at, _) in html.match_indices(attribute) {
                let target = html[at + attribute.len()..].split('"').next().unwrap();
                let is_served = find(target).is_some()
                    || ["/video.mjpg", "/snapshot.jpg", "/metrics", "/files/"].contains(&target);
                assert!(is_served, "{target}");
            }
        }
    }
}
