//! Tables that fit their terminal without breaking a Key ID, a time or a word.

use std::fmt;
use std::io::IsTerminal;

use comfy_table::{Cell, ContentArrangement, presets};

/// Spaces between two columns.
const GAP: u16 = 2;

/// Rows under headings.
///
/// Into a pipe each row is one line and whole, for grep. On a terminal that is too narrow for that,
/// columns that can be spared are left out, then a text is wrapped between its words, and where
/// not even that helps each row is printed as a block of `key: value` lines.
#[derive(Debug)]
pub struct Table {
    columns: Vec<&'static str>,
    /// The least needed first.
    spared: Vec<&'static str>,
    /// The column that may be wrapped between its words.
    text: Option<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// A table of these columns.
pub fn table(columns: &[&'static str]) -> Table {
    Table {
        columns: columns.to_vec(),
        spared: Vec::new(),
        text: None,
        rows: Vec::new(),
    }
}

impl Table {
    /// With columns that a narrow terminal can do without, the least needed first.
    pub fn sparing(mut self, columns: &[&'static str]) -> Self {
        self.spared = columns.to_vec();
        self
    }

    /// With a column of sentences, which may be wrapped between two words.
    pub fn wrapping(mut self, column: &'static str) -> Self {
        self.text = Some(column);
        self
    }

    /// One row more, a cell for each column.
    pub fn add_row<T: Into<Cell>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// In at most `width` columns of a terminal; `None`: there is no limit.
    fn within(&self, width: Option<u16>) -> String {
        let Some(width) = width else {
            return drawn(self.grid(&self.columns), None);
        };
        let mut shown = self.columns.clone();
        let mut spared = self.spared.iter();
        loop {
            let mut grid = self.grid(&shown);
            let wide = width_of(&grid);
            if wide <= width {
                return drawn(grid, None);
            }
            if let Some(column) = spared.next() {
                shown.retain(|shown| shown != column);
                continue;
            }
            let text = shown.iter().position(|shown| Some(*shown) == self.text);
            let Some(room) = text.and_then(|at| self.room(shown[at], at, &grid, width)) else {
                return self.blocks();
            };
            grid.set_content_arrangement(ContentArrangement::Dynamic);
            return drawn(grid, Some(room));
        }
    }

    /// The width of the whole grid in which the text at `at` is wrapped between words alone.
    fn room(&self, name: &str, at: usize, grid: &comfy_table::Table, width: u16) -> Option<u16> {
        let widths = grid.column_max_content_widths();
        let rest = width_of(grid) - widths[at];
        let left = width.checked_sub(rest)?;
        let place = self.columns.iter().position(|column| *column == name)?;
        let texts = self.rows.iter().map(|row| row[place].content());
        let longest = texts
            .flat_map(|text| text.split(' ').map(|word| word.chars().count()).max())
            .max();
        (usize::from(left) >= longest.unwrap_or_default().max(NARROWEST_TEXT)).then_some(width)
    }

    fn grid(&self, shown: &[&'static str]) -> comfy_table::Table {
        let mut grid = comfy_table::Table::new();
        grid.load_style(presets::NOTHING);
        grid.set_content_arrangement(ContentArrangement::Disabled);
        grid.set_header(shown.iter().map(|column| column.to_uppercase()));
        let places = shown
            .iter()
            .filter_map(|shown| self.columns.iter().position(|column| column == shown));
        let places: Vec<usize> = places.collect();
        for row in &self.rows {
            grid.add_row(places.iter().map(|place| row[*place].clone()));
        }
        let last = shown.len().saturating_sub(1);
        for (place, column) in grid.column_iter_mut().enumerate() {
            column.set_padding((0, if place == last { 0 } else { GAP }));
        }
        grid
    }

    /// A line for each cell.
    fn blocks(&self) -> String {
        let longest = self.columns.iter().map(|column| column.len()).max();
        let width = longest.unwrap_or_default() + 3;
        let line = |(column, cell): (&&str, &Cell)| {
            let key = format!("{column}:");
            format!("{key:<width$}{}", cell.content())
        };
        let block = |row: &Vec<Cell>| {
            let lines: Vec<String> = self.columns.iter().zip(row).map(line).collect();
            lines.join("\n")
        };
        let blocks: Vec<String> = self.rows.iter().map(block).collect();
        blocks.join("\n\n")
    }
}

/// In less, wrapped sentences are hard to read.
const NARROWEST_TEXT: usize = 24;

fn width_of(grid: &comfy_table::Table) -> u16 {
    let widths = grid.column_max_content_widths();
    let gaps = u16::try_from(widths.len().saturating_sub(1)).unwrap_or(u16::MAX);
    widths.iter().fold(gaps.saturating_mul(GAP), |sum, width| {
        sum.saturating_add(*width)
    })
}

fn drawn(mut grid: comfy_table::Table, width: Option<u16>) -> String {
    if let Some(width) = width {
        grid.set_width(width);
    }
    grid.trim_fmt()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Where the terminal does not tell its width, it is as a pipe is.
        let grid = comfy_table::Table::new();
        let width = grid.width().filter(|_| std::io::stdout().is_terminal());
        f.write_str(&self.within(width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "11111111-2222-3333-4444-555555555555";

    fn sample() -> Table {
        let mut table = table(&["name", "key id", "rotation", "would"])
            .sparing(&["rotation"])
            .wrapping("would");
        let text = format!("remove Key ID {KEY} once the overlap is over and nothing needs it");
        table.add_row(["app", KEY, "01JD0000000000000000000000", &text]);
        table
    }

    #[test]
    fn no_width_breaks_a_key_id_or_a_word() {
        let whole = sample().within(None);
        for width in 1..=200 {
            let told = sample().within(Some(width));
            assert!(told.matches(KEY).count() >= 2, "{width}\n{told}");
            for word in told.split_whitespace() {
                let known = word.trim_end_matches(':');
                assert!(
                    whole.to_lowercase().contains(&known.to_lowercase()),
                    "{width}: {word}"
                );
            }
        }
    }

    #[test]
    fn what_fits_is_whole_then_loses_what_can_be_spared_then_wraps_then_becomes_blocks() {
        let whole = sample().within(None);
        assert_eq!(whole.lines().count(), 2);
        assert_eq!(sample().within(Some(200)), whole);
        let spared = sample().within(Some(140));
        assert!(!spared.contains("ROTATION"), "{spared}");
        let wrapped = sample().within(Some(90));
        assert!(wrapped.lines().count() > 2, "{wrapped}");
        assert!(wrapped.lines().all(|line| line.len() <= 90), "{wrapped}");
        let blocks = sample().within(Some(60));
        assert!(blocks.contains(&format!("key id:    {KEY}")), "{blocks}");
        assert!(blocks.contains("rotation:"), "{blocks}");
    }
}
