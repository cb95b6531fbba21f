//! The XML data of a WIM, edited where it stands: what nobody knows stays as it is.

use crate::error::{Result, Within};
use crate::facts::Product;
use crate::unattend::xml::{self, Element};
use quick_xml::escape::escape;
use reseal_dtyp::{FileTime, from_utf16le, utf16_lossy, utf16le};
use reseal_wim::{Image, Stream};
use std::ops::Range;

/// What is said of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Folders, the root among them.
    pub(crate) folders: u64,
    /// Names of files.
    pub(crate) files: u64,
    /// Bytes of all streams, those of a file with several names counted for each.
    pub(crate) bytes: u64,
    /// What of that would be saved by counting such files once.
    pub(crate) hard_link_bytes: u64,
}

impl Counts {
    /// Those of an image; `size_of` tells the length of a stream.
    pub(crate) fn of(image: &Image, size_of: impl Fn(&Stream) -> Result<u64>) -> Result<Counts> {
        let mut counts = Counts::default();
        for file in image.files() {
            let names = image.names(file).count() as u64;
            if image.is_dir(file) {
                counts.folders += 1;
            } else {
                counts.files += names;
            }
            let mut bytes = 0u64;
            for stream in image.streams(file) {
                bytes = bytes.saturating_add(size_of(stream)?);
            }
            let all = bytes.saturating_mul(names.max(1));
            counts.bytes = counts.bytes.saturating_add(all);
            counts.hard_link_bytes = counts.hard_link_bytes.saturating_add(all - bytes);
        }
        Ok(counts)
    }
}

/// What is said of a new image.
#[derive(Debug, Clone, Default)]
pub(crate) struct About<'a> {
    pub(crate) name: &'a str,
    pub(crate) description: &'a str,
    pub(crate) counts: Counts,
    pub(crate) now: FileTime,
    /// What the installation says of itself, when there is one.
    pub(crate) product: Option<&'a Product>,
}

/// The document.
#[derive(Debug, Clone)]
pub(crate) struct Description {
    text: String,
}

impl Description {
    /// Takes what a WIM has; an empty document where there is none.
    pub(crate) fn read(bytes: &[u8]) -> Description {
        let text = utf16_lossy(&from_utf16le(bytes));
        let text = text.trim_start_matches('\u{feff}').trim_end_matches('\0').trim();
        Description { text: if text.is_empty() { "<WIM></WIM>".to_owned() } else { text.to_owned() } }
    }

    /// As it is stored: UTF-16 with a byte order mark.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        utf16le(&format!("\u{feff}{}", self.text))
    }

    /// That of a WIM with one image.
    pub(crate) fn of_one(about: &About<'_>) -> Description {
        let element = |name: &str, text: &str| format!("<{name}>{}</{name}>", escape(text));
        let Counts { folders, files, bytes, hard_link_bytes } = about.counts;
        let time = time(about.now);
        let mut text =
            format!("<WIM><TOTALBYTES>{bytes}</TOTALBYTES><IMAGE INDEX=\"1\">{}", element("NAME", about.name));
        if !about.description.is_empty() {
            text += &element("DESCRIPTION", about.description);
        }
        text += &format!(
            "<DIRCOUNT>{folders}</DIRCOUNT><FILECOUNT>{files}</FILECOUNT><TOTALBYTES>{bytes}</TOTALBYTES>\
             <HARDLINKBYTES>{hard_link_bytes}</HARDLINKBYTES><CREATIONTIME>{time}</CREATIONTIME>\
             <LASTMODIFICATIONTIME>{time}</LASTMODIFICATIONTIME>"
        );
        if let Some(product) = about.product {
            text += &windows(product);
        }
        Description { text: text + "</IMAGE></WIM>" }
    }

    pub(super) fn root(&self) -> Result<Element> {
        xml::parse(&self.text).within("XML data")
    }

    /// States what an image holds now, and when it was changed.
    pub(crate) fn update(&mut self, index: u32, counts: Counts, now: FileTime) -> Result<()> {
        let numbers = [
            ("DIRCOUNT", counts.folders),
            ("FILECOUNT", counts.files),
            ("TOTALBYTES", counts.bytes),
            ("HARDLINKBYTES", counts.hard_link_bytes),
        ];
        for (name, number) in numbers {
            self.set(index, name, &number.to_string())?;
        }
        self.set(index, "LASTMODIFICATIONTIME", &time(now))
    }

    /// Leaves out what is said of other images, and numbers these from 1, in this order.
    pub(crate) fn keep(&mut self, images: &[u32]) -> Result<()> {
        let root = self.root()?;
        let number = |image: &Element| image.attribute("INDEX").and_then(|i| i.trim().parse::<u32>().ok());
        // From the last one on, so that the places of the others stay.
        let all: Vec<&Element> = root.all("IMAGE").collect();
        for image in all.into_iter().rev() {
            let new = number(image).and_then(|number| images.iter().position(|kept| *kept == number));
            match new {
                None => {
                    let tail = if image.is_empty_tag { 0 } else { end_tag(&self.text[image.content.end..]) };
                    self.splice(image.tag.start..image.content.end + tail, "");
                }
                Some(at) if number(image) != Some(at as u32 + 1) => {
                    let tag = self.text[image.tag.clone()].to_owned();
                    let old = image.attribute("INDEX").unwrap_or_default();
                    let (before, after) = (format!("\"{old}\""), format!("\"{}\"", at + 1));
                    self.splice(image.tag.clone(), &tag.replacen(&before, &after, 1));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Sets what an element of an image holds, or adds it as the last one. Where the document says nothing of the image,
    /// nothing is added.
    fn set(&mut self, index: u32, name: &str, content: &str) -> Result<()> {
        let root = self.root()?;
        let Some(image) = image(&root, index) else { return Ok(()) };
        match image.child(name) {
            Some(element) if element.is_empty_tag => {
                self.splice(element.tag.clone(), &format!("<{name}>{content}</{name}>"));
            }
            Some(element) => self.splice(element.content.clone(), content),
            None if image.is_empty_tag => {}
            None => self.splice(image.content.end..image.content.end, &format!("<{name}>{content}</{name}>")),
        }
        Ok(())
    }

    fn splice(&mut self, range: Range<usize>, text: &str) {
        self.text.replace_range(range, text);
    }
}

/// What setup and DISM show of an installation; what it does not say is left out.
fn windows(product: &Product) -> String {
    let mut out = String::from("<WINDOWS>");
    let mut put = |name: &str, text: Option<&str>| {
        if let Some(text) = text {
            out += &format!("<{name}>{}</{name}>", escape(text));
        }
    };
    let architecture = match product.architecture.as_deref() {
        Some("x86") => Some("0"),
        Some("amd64") => Some("9"),
        Some("arm64") => Some("12"),
        _ => None,
    };
    put("ARCH", architecture);
    put("PRODUCTNAME", product.name.as_deref());
    put("EDITIONID", product.edition.as_deref());
    put("PRODUCTTYPE", product.product_type.as_deref());
    if let Some(build) = product.build.as_deref() {
        let (build, revision) = build.split_once('.').unwrap_or((build, "0"));
        // Every Windows since 10 says 10.0 here; an older one has a lower build.
        let version = if build.parse().is_ok_and(|number: u32| number >= 10_240) { ("10", "0") } else { ("6", "3") };
        let part = |name: &str, text: &str| format!("<{name}>{}</{name}>", escape(text));
        out += &format!(
            "<VERSION>{}{}{}{}</VERSION>",
            part("MAJOR", version.0),
            part("MINOR", version.1),
            part("BUILD", build),
            part("SPBUILD", revision)
        );
    }
    out + "<SYSTEMROOT>WINDOWS</SYSTEMROOT></WINDOWS>"
}

/// Length of an end tag at the start of a text.
fn end_tag(text: &str) -> usize {
    text.find('>').map_or(0, |at| at + 1)
}

/// The element of an image.
pub(super) fn image(root: &Element, index: u32) -> Option<&Element> {
    let is_it = |image: &&Element| image.attribute("INDEX").and_then(|i| i.trim().parse().ok()) == Some(index);
    root.all("IMAGE").find(is_it)
}

/// A time as such documents have it.
pub(crate) fn time(time: FileTime) -> String {
    let half = |bits: u64| format!("0x{:08X}", bits & 0xffff_ffff);
    format!("<HIGHPART>{}</HIGHPART><LOWPART>{}</LOWPART>", half(time.0 >> 32), half(time.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_knows_stays() {
        let text = "<WIM><TOTALBYTES>9</TOTALBYTES><IMAGE INDEX=\"1\"><NAME>a &amp; b</NAME><FILECOUNT>3</FILECOUNT>\
                    <X y=\"1\"/><DIRCOUNT/></IMAGE><IMAGE INDEX=\"2\"><NAME>c</NAME></IMAGE></WIM>";
        let mut description = Description::read(&utf16le(&format!("\u{feff}{text}")));
        assert_eq!(description.to_bytes(), utf16le(&format!("\u{feff}{text}")));
        let counts = Counts { folders: 1, files: 22, bytes: 333, hard_link_bytes: 4 };
        description.update(1, counts, FileTime(0x01d3_86ad_036c_2dda)).unwrap();
        let changed = "<WIM><TOTALBYTES>9</TOTALBYTES><IMAGE INDEX=\"1\"><NAME>a &amp; b</NAME><FILECOUNT>22</FILECOUNT>\
                       <X y=\"1\"/><DIRCOUNT>1</DIRCOUNT><TOTALBYTES>333</TOTALBYTES><HARDLINKBYTES>4</HARDLINKBYTES>\
                       <LASTMODIFICATIONTIME><HIGHPART>0x01D386AD</HIGHPART><LOWPART>0x036C2DDA</LOWPART>\
                       </LASTMODIFICATIONTIME></IMAGE><IMAGE INDEX=\"2\"><NAME>c</NAME></IMAGE></WIM>";
        assert_eq!(description.text, changed);
        description.update(3, counts, FileTime(0)).unwrap();
        assert_eq!(description.text, changed);
        description.keep(&[1, 2]).unwrap();
        assert_eq!(description.text, changed);
        description.keep(&[2]).unwrap();
        let kept = "<WIM><TOTALBYTES>9</TOTALBYTES><IMAGE INDEX=\"1\"><NAME>c</NAME></IMAGE></WIM>";
        assert_eq!(description.text, kept);
    }
}
