"""The accuracies by threshold, as a picture."""

from pipeline.evaluate.evaluation import Evaluation

CURVE_FILE = "curve.png"


def draw_curve(result: Evaluation, path: str) -> None:
    """Draws the curve into a PNG file."""
    from matplotlib.figure import Figure  # slow to import, and needed for nothing else

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(xlabel="threshold, share of the map's maximum", ylabel="images, %", ylim=(0, 100))
    thresholds = [point.threshold_frac for point in result.curve]
    for name, style in (("gt_known", "-"), ("all_contours", "--")):
        for iou, colour in ((30, "tab:green"), (50, "tab:blue"), (70, "tab:red")):
            values = [100 * getattr(point, f"{name}_iou{iou}") for point in result.curve]
            label = f"{'largest contour' if name == 'gt_known' else 'all contours'}, IoU 0.{iou // 10}"
            axes.plot(thresholds, values, style, color=colour, label=label)
    axes.plot(thresholds, [100 * point.top1_loc for point in result.curve], ":", color="black", label="top-1, IoU 0.5")
    if result.overall.gt_known is not None:
        own = result.about["boxes"]["threshold_frac"]
        axes.plot([own], [100 * result.overall.gt_known], "o", color="tab:blue", label="the run's boxes, IoU 0.5")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=100)
