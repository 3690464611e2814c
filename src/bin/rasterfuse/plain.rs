//! Text for a terminal: names from files may hold characters that move the cursor or turn the writing round.

use std::fmt::{self, Write};

/// Shows a text with its control characters written out, `\u{1b}` and the like; lines and tabs stay.
pub(crate) struct Plain<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Plain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut from = 0;
        for (at, character) in text.char_indices().filter(|(_, character)| controls(*character)) {
            write!(self.0, "{}{}", &text[from..at], character.escape_default())?;
            from = at + character.len_utf8();
        }
        self.0.write_str(&text[from..])
    }
}

/// Whether a character is obeyed by a terminal in place of being shown: also those that change the direction of text.
fn controls(character: char) -> bool {
    let directs = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    directs || character.is_control() && !matches!(character, '\n' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        let shown = Plain("a\u{1b}[2Jb\r\u{9b}c\u{202e}d\te\nä").to_string();
        assert_eq!(shown, "a\\u{1b}[2Jb\\r\\u{9b}c\\u{202e}d\te\nä");
    }
}
