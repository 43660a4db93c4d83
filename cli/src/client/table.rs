//! Aligned columns that fit the terminal.

use super::terminal::{Paint, clean, say, width};

/// A column is never made narrower than this to fit.
const COLUMN_MIN: usize = 6;
/// Spaces between columns.
const GAP: usize = 2;

/// Rows under headings.
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new<const N: usize>(headings: [&'static str; N]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.headings.len());
        self.rows.push(cells.iter().map(|cell| clean(cell)).collect());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Prints it, states in their colours.
    pub fn print(&self) {
        say(self.text(width(), Paint::stdout()));
    }

    fn text(&self, width: usize, paint: Paint) -> String {
        let widths = self.widths(width);
        let mut out = String::new();
        let headings: Vec<String> = self.headings.iter().map(|h| (*h).to_string()).collect();
        out.push_str(&line(&headings, &widths, |text| paint.dim(text)));
        for row in &self.rows {
            out.push_str(&line(row, &widths, |text| paint.state(text)));
        }
        out
    }

    /// The widest columns give way until all fit.
    fn widths(&self, width: usize) -> Vec<usize> {
        let mut widths: Vec<usize> = self.headings.iter().map(|h| h.chars().count()).collect();
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                widths[column] = widths[column].max(cell.chars().count());
            }
        }
        let gaps = GAP * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > width {
            match widths.iter_mut().max() {
                Some(widest) if *widest > COLUMN_MIN => *widest -= 1,
                _ => break,
            }
        }
        widths
    }
}

fn line(cells: &[String], widths: &[usize], paint: impl Fn(&str) -> String) -> String {
    let mut out = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let shown = shortened(cell, *width);
        let pad = if column + 1 == cells.len() { 0 } else { width - shown.chars().count() + GAP };
        out.push_str(&paint(&shown));
        out.push_str(&" ".repeat(pad));
    }
    format!("{}\n", out.trim_end())
}

fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// Names and values of one thing, values wrapped by nobody: they are made to be copied.
pub fn say_fields(fields: &[(&str, String)]) {
    let paint = Paint::stdout();
    let widest = fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        let mut lines = value.lines();
        let first = clean(lines.next().unwrap_or_default());
        say(format!("{}  {}\n", paint.dim(&format!("{name:<widest$}")), paint.state(&first)));
        for line in lines {
            say(format!("{:widest$}  {}\n", "", clean(line)));
        }
    }
}

/// `2026-11-24 20:48:34` of an RFC 3339 moment.
pub fn moment(rfc3339: &str) -> String {
    rfc3339.get(..19).map(|text| text.replace('T', " ")).unwrap_or_default()
}

/// The first 12 digits of a commit or digest.
pub fn short(id: &str) -> String {
    let bare = id.strip_prefix("sha256:").unwrap_or(id);
    bare.chars().take(12).collect()
}

/// `1.3 s`, `240 ms`.
pub fn duration(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_never_wider_than_the_terminal() {
        let mut table = Table::new(["ID", "TITLE", "URL"]);
        table.row(["shop".into(), "A shop".into(), "u".repeat(100)]);
        table.row(["b".into(), "B".repeat(60), String::new()]);
        let text = table.text(80, Paint::plain());
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let columns: Vec<_> = text.lines().map(|line| line.chars().nth(6)).collect();
        assert_eq!(columns, [Some('T'), Some('A'), Some('B')]);
    }

    #[test]
    fn durations_and_moments_read_well() {
        assert_eq!(duration(999), "999 ms");
        assert_eq!(duration(1250), "1.2 s");
        assert_eq!(duration(61_000), "1 min 1 s");
        assert_eq!(moment("2026-11-24T20:48:34.123Z"), "2026-11-24 20:48:34");
        assert_eq!(short("sha256:0123456789abcdef"), "0123456789ab");
    }
}
