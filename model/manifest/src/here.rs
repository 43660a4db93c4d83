//! The way to a value while a document is being read.

use crate::node::{At, Mark};

/// The way to a value, written out only when there is something to complain about.
pub(crate) struct Here<'p> {
    pub mark: Mark,
    pub step: Way<'p>,
}

pub(crate) enum Way<'p> {
    Root(&'p str),
    Key(&'p Here<'p>, &'p str),
    Item(&'p Here<'p>, usize),
}

impl Here<'_> {
    pub fn at(&self) -> At {
        let mut path = String::new();
        self.write(&mut path);
        At::new(self.mark, path)
    }

    fn write(&self, path: &mut String) {
        match self.step {
            Way::Root(root) => path.push_str(root),
            Way::Key(parent, key) => {
                parent.write(path);
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
            }
            Way::Item(parent, index) => {
                parent.write(path);
                path.push_str(&format!("[{index}]"));
            }
        }
    }
}
