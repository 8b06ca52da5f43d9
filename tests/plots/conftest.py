import matplotlib.pyplot as plt
import pytest


@pytest.fixture
def axes():
    figure, ax = plt.subplots()
    yield ax
    figure.canvas.draw()  # what cannot be drawn fails here
    plt.close(figure)
