//! Texts that belong to one another, drawn as a tree.

/// A text with what belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Branch {
    /// The text.
    pub text: String,
    /// What belongs to it, in order.
    pub branches: Vec<Branch>,
}

/// What trees are drawn with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strokes {
    /// Box-drawing characters, for terminals.
    Boxes,
    /// ASCII, for everything else.
    Ascii,
}

impl Branch {
    /// A text by itself.
    pub fn leaf(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            branches: Vec::new(),
        }
    }

    /// A text with what belongs to it.
    pub fn new(text: impl Into<String>, branches: Vec<Self>) -> Self {
        Self {
            text: text.into(),
            branches,
        }
    }

    /// The tree, a line for each text, without a newline at the end.
    pub fn draw(&self, strokes: Strokes) -> String {
        let mut drawn = one_line(&self.text);
        self.draw_below(strokes, "", &mut drawn);
        drawn
    }

    fn draw_below(&self, strokes: Strokes, before: &str, drawn: &mut String) {
        let (more, last, past, blank) = match strokes {
            Strokes::Boxes => ("├─ ", "└─ ", "│  ", "   "),
            Strokes::Ascii => ("|- ", "`- ", "|  ", "   "),
        };
        for (index, branch) in self.branches.iter().enumerate() {
            let is_last = index + 1 == self.branches.len();
            drawn.push('\n');
            drawn.push_str(before);
            drawn.push_str(if is_last { last } else { more });
            drawn.push_str(&one_line(&branch.text));
            let before = format!("{before}{}", if is_last { blank } else { past });
            branch.draw_below(strokes, &before, drawn);
        }
    }
}

/// What comes from elsewhere must not look like another branch.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_drawn() {
        let tree = Branch::new(
            "root",
            vec![
                Branch::new("a", vec![Branch::leaf("a1"), Branch::leaf("a2\n`- root")]),
                Branch::new("b", vec![Branch::new("b1", vec![Branch::leaf("b11")])]),
            ],
        );
        let ascii = "root\n|- a\n|  |- a1\n|  `- a2 `- root\n`- b\n   `- b1\n      `- b11";
        assert_eq!(tree.draw(Strokes::Ascii), ascii);
        let boxes = "root\n├─ a\n│  ├─ a1\n│  └─ a2 `- root\n└─ b\n   └─ b1\n      └─ b11";
        assert_eq!(tree.draw(Strokes::Boxes), boxes);
    }
}
