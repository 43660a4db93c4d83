//! Hostile text as nginx configuration: whatever stands in an app file stays one literal token.

/// nginx reads its configuration through a buffer of 4096 bytes: a longer token is refused by it.
const TOKEN_BYTES_MAX: usize = 4000;

/// The variable that holds a dollar sign; nginx has no other way to write one.
pub const DOLLAR: &str = "${slipway_dollar}";

/// Why a text cannot stand in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    #[error("'{start}…' is longer than the {TOKEN_BYTES_MAX} bytes that nginx takes: split it")]
    TooLong { start: String },
    #[error("'{start}…' holds a control character")]
    Control { start: String },
}

/// A quoted token in which `$` has no meaning for nginx (a pattern), or in which variables are wanted.
pub fn raw(text: &str) -> Result<String, QuoteError> {
    let start = || text.chars().take(40).filter(|c| !c.is_control()).collect::<String>();
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(QuoteError::Control { start: start() });
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    if out.len() > TOKEN_BYTES_MAX {
        return Err(QuoteError::TooLong { start: start() });
    }
    Ok(out)
}

/// A quoted token that means exactly this text, dollar signs too.
pub fn literal(text: &str) -> Result<String, QuoteError> {
    raw(&text.replace('$', DOLLAR))
}

/// The text inside of a pattern, matching itself.
pub fn pattern_literal(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii() && !c.is_ascii_alphanumeric() && !matches!(c, '/' | '_' | '-') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The text as part of a request line: everything that is no plain path or query character is percent-encoded.
pub fn request_target(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(byte as char),
            b'/' | b'-' | b'_' | b'.' | b'~' | b'?' | b'&' | b'=' | b'%' | b'+' | b',' | b':' | b'@' | b'!' | b'*' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_one_token() {
        assert_eq!(raw(r#"\.(css|js)$"#).unwrap(), r#""\\.(css|js)$""#);
        assert_eq!(literal(r#"a"; } server { listen 1; "#).unwrap(), r#""a\"; } server { listen 1; ""#);
        assert_eq!(literal("cost $5").unwrap(), "\"cost ${slipway_dollar}5\"");
        assert!(matches!(raw("a\r\nSet-Cookie: x"), Err(QuoteError::Control { .. })));
        assert!(matches!(raw("a\0"), Err(QuoteError::Control { .. })));
        assert!(matches!(raw(&"x".repeat(5000)), Err(QuoteError::TooLong { .. })));
    }

    #[test]
    fn a_request_target_cannot_end_its_line() {
        assert_eq!(request_target("/a b\r\nX: y?q=1"), "/a%20b%0D%0AX:%20y?q=1");
    }
}
