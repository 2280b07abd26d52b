"""In a real kernel: a figure as a cell's last expression becomes one PNG with its alt text, on the page too."""

import base64

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs the extra lab")
nbclient = pytest.importorskip("nbclient", reason="needs the extra lab")

CELLS = [
    "from padlab.show import plots, html\nplots.plot_rewards([-1, -2], [-2, -1], ['<script>a</script>', '$b$'])",
    "import matplotlib.pyplot as plt\nplt.figure()\nplt.close('all')\nplots.plot_position_bias([0.9, 0.2], [0.2, 0.8])",
    "%matplotlib inline\nplots.plot_paired([0.1, 0.2], [0.2, 0.3])",
    "display(plots.plot_training([{'step': 1, 'loss': 2.0}, {'step': 2, 'loss': 1.0}]))",
    "html.table([{'text': '<script>alert(1)</script> $x$'}])",
    "print(plt.get_fignums())",
]


@pytest.fixture(scope="module")
def executed():
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return notebook


@pytest.mark.parametrize("cell", range(4))
def test_each_figure_is_one_png_with_an_alt_text(executed, cell):
    (output,) = executed.cells[cell].outputs
    assert base64.b64decode(output.data["image/png"]).startswith(b"\x89PNG")
    meta = output.metadata["image/png"]
    assert meta["alt"].endswith(".")
    assert meta["width"] >= 700
    assert meta["alt"] in output.data["text/plain"]


def test_table_is_html_and_text(executed):
    (output,) = executed.cells[4].outputs
    assert "<script" not in output.data["text/html"]
    assert "alert(1)" in output.data["text/plain"]


def test_nothing_stays_in_pyplot(executed):
    assert executed.cells[5].outputs[0].text == "[]\n"


@pytest.mark.parametrize("template", ["lab", "classic"])
def test_the_exported_page_carries_no_markup_of_models(executed, template):
    nbconvert = pytest.importorskip("nbconvert", reason="needs the extra lab")
    page, _ = nbconvert.HTMLExporter(template_name=template).from_notebook_node(executed)
    if template == "classic":  # the lab template of nbconvert 7 leaves alt texts out
        for cell in executed.cells[:4]:
            assert f'alt="{cell.outputs[0].metadata["image/png"]["alt"]}"' in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; <span>$</span>x<span>$</span>" in page
    assert "<script>alert(1)" not in page
