// The headers that tests share are precompiled with this: see tests/CMakeLists.txt.
