"""What the example scripts ask their caller: how long to train, where to draw, where data lie."""

import argparse


def options(epochs, data=False):
    """Return the command line's options; `epochs` is what the book, or the note, takes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=epochs, help="passes or tries (default: %(default)s)")
    parser.add_argument("--plot", metavar="FILE", help="draw a picture to this file; needs matplotlib")
    if data:
        parser.add_argument("--data", metavar="PATH", help="Fashion-MNIST: an .npz file or a folder")
    return parser.parse_args()


def picture(file, *drawings):
    """Draw each drawing, a function of axes, beside the others; without a file do nothing."""
    if not file:
        return
    try:
        import matplotlib
    except ImportError:
        print("no picture: install matplotlib")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(drawings), figsize=(5 * len(drawings), 4), squeeze=False)
    for draw, ax in zip(drawings, axes[0], strict=True):
        draw(ax)
    figure.savefig(file)
