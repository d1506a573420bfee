//! An app's README as HTML for its page. The text comes from a catalog that somebody else keeps: raw HTML is taken out,
//! links lead to the web or nowhere, nothing is loaded from elsewhere.

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

use crate::limits::operator::README_BYTES;

/// Renders a README. The result is safe to stand in a page.
pub(super) fn render(text: &str) -> String {
    let mut end = text.len().min(README_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = text.get(..end).unwrap_or_default();
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut out = String::with_capacity(text.len() + text.len() / 2);
    html::push_html(&mut out, Parser::new_ext(text, options).filter_map(harmless));
    out
}

/// A part of the document as it may be shown; `None` leaves it out.
fn harmless(event: Event<'_>) -> Option<Event<'_>> {
    Some(match event {
        Event::Html(_) | Event::InlineHtml(_) => return None,
        Event::Start(Tag::HtmlBlock | Tag::Image { .. })
        | Event::End(TagEnd::HtmlBlock | TagEnd::Image) => return None,
        Event::Start(Tag::Link { link_type, dest_url, .. }) => Event::Start(Tag::Link {
            link_type,
            dest_url: if leads_to_the_web(&dest_url) { dest_url } else { CowStr::Borrowed("") },
            title: CowStr::Borrowed(""),
            id: CowStr::Borrowed(""),
        }),
        // The page has its own first and second heading.
        Event::Start(Tag::Heading { level, .. }) => Event::Start(Tag::Heading {
            level: lower(level),
            id: None,
            classes: Vec::new(),
            attrs: Vec::new(),
        }),
        Event::End(TagEnd::Heading(level)) => Event::End(TagEnd::Heading(lower(level))),
        // Alignment would become a style attribute, which the page's policy forbids.
        Event::Start(Tag::Table(columns)) => {
            Event::Start(Tag::Table(vec![pulldown_cmark::Alignment::None; columns.len()]))
        }
        other => other,
    })
}

fn leads_to_the_web(address: &str) -> bool {
    ["https://", "http://", "mailto:"].iter().any(|scheme| {
        address.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    })
}

fn lower(level: HeadingLevel) -> HeadingLevel {
    match level {
        HeadingLevel::H1 | HeadingLevel::H2 => HeadingLevel::H3,
        HeadingLevel::H3 => HeadingLevel::H4,
        HeadingLevel::H4 => HeadingLevel::H5,
        HeadingLevel::H5 | HeadingLevel::H6 => HeadingLevel::H6,
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn what_a_readme_may_not_do_is_gone() {
        let shown = render(
            "# Title\n\n<script>alert(1)</script>\n\na <b onclick=x>bold</b> word, \
             [bad](javascript:alert(1)), [BAD](JaVaScRiPt:alert(1)), [data](data:text/html,x), \
             [good](https://example.org/a?b=1&c=2 \"t\"), <javascript:alert(1)>\n\n\
             ![picture](https://example.org/track.png)\n\n<div style=\"x\">\nblock\n</div>\n\n\
             | a | b |\n|:--|--:|\n| 1 | 2 |\n",
        );
        let lower = shown.to_ascii_lowercase();
        for bad in
            ["<script", "onclick", "href=\"javascript", "href=\"data", "<img", "style=", "<b"]
        {
            assert!(!lower.contains(bad), "{bad}: {shown}");
        }
        assert!(shown.contains("<h3>Title</h3>"), "{shown}");
        assert!(shown.contains("href=\"https://example.org/a?b=1&amp;c=2\""), "{shown}");
        assert!(shown.contains("picture") && shown.contains("<table>"), "{shown}");
    }

    #[test]
    fn a_huge_readme_is_cut_between_characters() {
        let shown = render(&"é".repeat(README_BYTES));
        assert!(shown.len() < README_BYTES + 100);
    }

    proptest::proptest! {
        #[test]
        fn no_text_opens_a_script_or_an_event_handler(text in "\\PC{0,200}") {
            let shown = render(&format!("{text}\n\n<script>{text}</script>\n\n[x]({text})"));
            proptest::prop_assert!(!shown.contains("<script"));
            proptest::prop_assert!(!shown.to_ascii_lowercase().contains("href=\"javascript:"));
        }
    }
}
