//! Makes the files a browser fetches: joined, named by their content, compressed once and for all.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process,
};

use sha2::{Digest as _, Sha256};

const HTMX: &str = "node_modules/htmx.org/dist/htmx.min.js";

fn main() {
    println!("cargo:rerun-if-changed=static");
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed={HTMX}");
    println!("cargo:rerun-if-changed=build.rs");

    let Ok(htmx) = fs::read_to_string(HTMX) else {
        eprintln!("htmx is not installed: run `npm ci` first, or let `bin/run` do it");
        process::exit(1);
    };
    // One file: as two deferred ones they race.
    let js = format!("{}\n{}", htmx.trim_end(), read("static/js/app.js"));
    let css = read("static/css/app.css");

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut table = String::new();
    let mut add = |constant: &str, name: &str, kind: &str, content: &[u8]| {
        let hash: String =
            Sha256::digest(content).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let (stem, extension) = name.split_once('.').expect("an asset's name has an extension");
        let path = format!("/static/{stem}.{hash}.{extension}");
        let file = out.join(name);
        write(&file, content);
        write(&file.with_extension(format!("{extension}.br")), &brotli(content));
        write(&file.with_extension(format!("{extension}.gz")), &gzip(content));
        table.push_str(&format!(
            "pub static {constant}: Asset = Asset {{\n    path: {path:?},\n    content_type: {kind:?},\n    \
             etag: \"\\\"{hash}\\\"\",\n    plain: include_bytes!({file:?}),\n    \
             brotli: include_bytes!({:?}),\n    gzip: include_bytes!({:?}),\n}};\n",
            file.with_extension(format!("{extension}.br")),
            file.with_extension(format!("{extension}.gz")),
        ));
    };
    add("CSS", "app.css", "text/css; charset=utf-8", css.as_bytes());
    add("JS", "app.js", "text/javascript; charset=utf-8", js.as_bytes());
    add(
        "ICON",
        "favicon.svg",
        "image/svg+xml; charset=utf-8",
        read("static/img/favicon.svg").as_bytes(),
    );
    write(&out.join("assets.rs"), table.as_bytes());
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|err| panic!("{path}: {err}"))
}

fn write(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
}

fn brotli(content: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    brotli::CompressorWriter::new(&mut packed, 4096, 11, 22)
        .write_all(content)
        .expect("writing to memory cannot fail");
    packed
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(content).expect("writing to memory cannot fail");
    packer.finish().expect("writing to memory cannot fail")
}
