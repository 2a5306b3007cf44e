//! A report's files.

use std::fs;
use std::path::{Path, PathBuf};

use super::page::{Block, Page};
use super::{Error, html, markdown};

impl Page {
    /// Writes `report.md`, its pictures and `report.html` into `dir`; gives the HTML page's path. Each page comes when what
    /// it shows is there.
    pub(super) fn write(&self, dir: &Path) -> Result<PathBuf, Error> {
        fs::create_dir_all(dir).map_err(Error::file(dir))?;
        for block in &self.blocks {
            if let Block::Picture { name, svg, .. } = block {
                let path = dir.join(name);
                fs::write(&path, svg).map_err(Error::file(&path))?;
            }
        }
        for (name, text) in [("report.md", markdown::page(self)), ("report.html", html::page(self))] {
            let path = dir.join(name);
            fs::write(&path, text).map_err(Error::file(&path))?;
        }
        Ok(dir.join("report.html"))
    }
}
