//! Builds the static files: joined, named by a hash of their content, and compressed.

use std::{env, error::Error, fmt::Write as _, fs, io::Write as _, path::Path};

use sha2::{Digest as _, Sha256};

const HTMX: &str = "node_modules/htmx.org/dist/htmx.min.js";
const HX_SSE: &str = "node_modules/htmx.org/dist/ext/hx-sse.min.js";

fn main() -> Result<(), Box<dyn Error>> {
    for input in ["static", "migrations", HTMX, HX_SSE, "build.rs"] {
        println!("cargo:rerun-if-changed={input}");
    }
    let (Ok(htmx), Ok(hx_sse)) = (fs::read_to_string(HTMX), fs::read_to_string(HX_SSE)) else {
        println!("cargo::error=htmx is not installed: run `npm ci` first, or let `bin/run` do it");
        return Ok(());
    };
    // One file, because several deferred scripts would race.
    let ours = fs::read_to_string("static/js/app.js")?;
    let script = format!("{}\n{}\n{ours}", htmx.trim_end(), hx_sse.trim_end());
    let style = fs::read_to_string("static/css/app.css")?;
    let icon = fs::read_to_string("static/img/favicon.svg")?;

    let out = env::var("OUT_DIR")?;
    let out = Path::new(&out);
    let mut table = String::new();
    let texts = [
        ("CSS", "app.css", "text/css; charset=utf-8", style),
        ("JS", "app.js", "text/javascript; charset=utf-8", script),
        ("ICON", "favicon.svg", "image/svg+xml; charset=utf-8", icon),
    ];
    for (constant, name, content_type, text) in texts {
        let compressed = [("br", brotli(&text)?), ("gz", gzip(&text)?)];
        add(out, &mut table, constant, name, content_type, text.as_bytes(), Some(compressed))?;
    }
    // Made from the SVG, for clients without SVG icons. Already compressed.
    for (constant, name, content_type) in [
        ("OLD_ICON", "favicon.ico", "image/x-icon"),
        ("TOUCH_ICON", "apple-touch-icon.png", "image/png"),
        ("ICON_192", "icon-192.png", "image/png"),
        ("ICON_512", "icon-512.png", "image/png"),
        ("MASKABLE_ICON", "icon-maskable-512.png", "image/png"),
    ] {
        let image = fs::read(Path::new("static/img").join(name))?;
        add(out, &mut table, constant, name, content_type, &image, None)?;
    }
    fs::write(out.join("assets.rs"), table)?;
    Ok(())
}

/// Writes one file, plain and compressed, and appends the Rust that embeds it to `table`.
fn add(
    out: &Path,
    table: &mut String,
    constant: &str,
    name: &str,
    content_type: &str,
    content: &[u8],
    compressed: Option<[(&str, Vec<u8>); 2]>,
) -> Result<(), Box<dyn Error>> {
    let mut hash = String::new();
    for byte in Sha256::digest(content).iter().take(6) {
        write!(hash, "{byte:02x}")?;
    }
    fs::write(out.join(name), content)?;
    let mut embedded = String::new();
    for (coding, bytes) in compressed.into_iter().flatten() {
        fs::write(out.join(format!("{name}.{coding}")), bytes)?;
        write!(embedded, r#"include_bytes!("{name}.{coding}"), "#)?;
    }
    let compressed =
        if embedded.is_empty() { "None".to_owned() } else { format!("Some([{embedded}])") };
    let (stem, extension) = name.rsplit_once('.').ok_or("a file without an extension")?;
    writeln!(
        table,
        r#"pub static {constant}: Asset = Asset {{
            path: "/static/{stem}.{hash}.{extension}",
            content_type: "{content_type}",
            etag: "\"{hash}\"",
            plain: include_bytes!("{name}"),
            compressed: {compressed},
        }};"#
    )?;
    Ok(())
}

fn brotli(content: &str) -> std::io::Result<Vec<u8>> {
    let mut compressed = Vec::new();
    brotli::CompressorWriter::new(&mut compressed, 4096, 11, 22).write_all(content.as_bytes())?;
    Ok(compressed)
}

fn gzip(content: &str) -> std::io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content.as_bytes())?;
    encoder.finish()
}
