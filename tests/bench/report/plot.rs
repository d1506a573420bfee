//! The plot: one bar per row, how many times better than the best peer, on a logarithmic scale.

use super::super::row::{Row, figure};

const LINE: f64 = 20.0;
const LABELS: f64 = 560.0;
const WIDTH: f64 = 420.0;
/// Both ends of the scale, as powers of ten.
const FROM: f64 = -1.0;
const TO: f64 = 2.0;

pub fn svg(rows: &[Row]) -> String {
    let compared: Vec<(&Row, f64)> = rows.iter().filter_map(|r| Some((r, advantage(r)?))).collect();
    let height = LINE * (compared.len() as f64 + 3.0);
    let total = LABELS + WIDTH + 150.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {total} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>Ironhatch beside the best peer</title>\n<rect width=\"{total}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (power, label) in [(-1.0, "0.1×"), (0.0, "as the peer"), (1.0, "10× better"), (2.0, "100×")]
    {
        let x = place(10f64.powf(power));
        let colour = if power == 0.0 { "#333" } else { "#ccc" };
        out += &format!(
            "<line x1=\"{x:.1}\" y1=\"{LINE}\" x2=\"{x:.1}\" y2=\"{height}\" stroke=\"{colour}\"/>\n\
             <text x=\"{x:.1}\" y=\"14\" text-anchor=\"middle\" fill=\"#555\">{label}</text>\n"
        );
    }
    for (n, (row, advantage)) in compared.iter().enumerate() {
        let y = LINE * (n as f64 + 1.5);
        let (one, end) = (place(1.0), place(*advantage));
        let colour = match row.met {
            Some(true) => "#2e7d32",
            Some(false) => "#c62828",
            None => "#78909c",
        };
        out += &format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#333\">{}×</text>\n",
            LABELS - 8.0,
            y + 12.0,
            escaped(&row.name),
            one.min(end),
            (end - one).abs().max(1.0),
            LINE - 5.0,
            one.max(end) + 5.0,
            y + 12.0,
            figure(*advantage),
        );
    }
    out + &format!(
        "<text x=\"{LABELS}\" y=\"{:.1}\" fill=\"#555\">green: target met, red: missed, grey: no target</text>\n</svg>\n",
        height - 8.0
    )
}

/// How many times better than the peer: the ratio, turned round where less is better.
fn advantage(row: &Row) -> Option<f64> {
    let ratio = row.ratio.filter(|r| *r > 0.0)?;
    Some(if row.is_rate() { ratio } else { 1.0 / ratio })
}

fn place(advantage: f64) -> f64 {
    let power = advantage.log10().clamp(FROM, TO);
    LABELS + (power - FROM) / (TO - FROM) * WIDTH
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
