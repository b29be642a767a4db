// Weight of a tap at a point of a one-dimensional Winograd convolution with the points 0, ±near, ±far and infinity.

#pragma once

// Its power over the product of distances to the other points; point 5 is infinity.
static inline double point_weight(double near, double far, int taps, int point, int tap) {
    const double points[5] = {0, near, -near, far, -far};
    if (point == 5) return tap == taps - 1;
    double value = 1;
    for (int i = 0; i < tap; i++) value *= points[point];
    for (int i = 0; i < 5; i++)
        if (i != point) value /= points[point] - points[i];
    return value;
}
