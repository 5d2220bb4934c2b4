//! The files of the page. Written by server/ui/embed.mjs; do not edit.

use super::PageFile;

pub(super) const FILES: &[PageFile] = &[
    PageFile {
        name: "app.0e0c7a9044.css",
        kind: "text/css; charset=utf-8",
        hashed: true,
        bytes: include_bytes!("app.0e0c7a9044.css"),
        gzip: Some(include_bytes!("app.0e0c7a9044.css.gz")),
    },
    PageFile {
        name: "app.102849fbe3.js",
        kind: "text/javascript; charset=utf-8",
        hashed: true,
        bytes: include_bytes!("app.102849fbe3.js"),
        gzip: Some(include_bytes!("app.102849fbe3.js.gz")),
    },
    PageFile {
        name: "icon.fb9892c9fb.svg",
        kind: "image/svg+xml",
        hashed: true,
        bytes: include_bytes!("icon.fb9892c9fb.svg"),
        gzip: Some(include_bytes!("icon.fb9892c9fb.svg.gz")),
    },
    PageFile {
        name: "index.html",
        kind: "text/html; charset=utf-8",
        hashed: false,
        bytes: include_bytes!("index.html"),
        gzip: Some(include_bytes!("index.html.gz")),
    },
    PageFile {
        name: "licenses.txt",
        kind: "text/plain; charset=utf-8",
        hashed: false,
        bytes: include_bytes!("licenses.txt"),
        gzip: Some(include_bytes!("licenses.txt.gz")),
    },
];
