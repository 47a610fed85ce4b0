// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

let package = Package(
    name: "Belay",
    products: [
        .library(name: "Belay", targets: ["Belay"]),
        // Needs the trait Metrics: without it the module is empty, and its dependency is not fetched.
        .library(name: "BelayMetrics", targets: ["BelayMetrics"]),
    ],
    traits: [
        .trait(name: "Metrics", description: "The bridge to swift-metrics, BelayMetrics")
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-metrics", from: "2.5.0")
    ],
    targets: [
        // The C header, and the little that Swift cannot say.
        .target(
            name: "CBelay",
            path: ".",
            exclude: [
                ".ci", "Benchmarks", "Examples", "Sources/Belay", "Sources/BelayCore", "Sources/BelayMetrics", "Tests",
                "Tools",
                "cexamples", "cmake", "scripts", "CMakeLists.txt", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md",
                "LICENSE", "README.md", "docs",
            ],
            sources: ["Sources/CBelay"],
            publicHeadersPath: "include"
        ),
        // The runtime. CMake compiles the same sources in Embedded Swift for C programs.
        .target(name: "BelayCore", dependencies: ["CBelay"]),
        // The Swift API.
        .target(name: "Belay", dependencies: ["BelayCore", "CBelay"]),
        // Bridges, each behind a trait of its own.
        .target(
            name: "BelayMetrics",
            dependencies: [
                "Belay",
                .product(name: "CoreMetrics", package: "swift-metrics", condition: .when(traits: ["Metrics"])),
            ]
        ),
        .testTarget(
            name: "BelayMetricsTests",
            dependencies: [
                "BelayMetrics",
                .product(name: "MetricsTestKit", package: "swift-metrics", condition: .when(traits: ["Metrics"])),
            ]
        ),
        .testTarget(name: "BelayCoreTests", dependencies: ["BelayCore", "CBelay"]),
        .testTarget(name: "BelayTests", dependencies: ["Belay"]),
        .executableTarget(name: "hello", dependencies: ["Belay"], path: "Examples/hello"),
        .executableTarget(name: "story", dependencies: ["Belay"], path: "Examples/story"),
        .executableTarget(name: "virtual-clock", dependencies: ["Belay"], path: "Examples/virtual-clock"),
    ],
    swiftLanguageModes: [.v6]
)
