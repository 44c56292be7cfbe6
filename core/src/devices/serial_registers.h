// Registers of the 16550A UART: National Semiconductor PC16550D data sheet, section 8 (table II).
#pragma once

#include <cstdint>

namespace spore::devices {

inline constexpr std::uint64_t kUartData = 0;             // RBR, THR; DLL with DLAB
inline constexpr std::uint64_t kUartInterruptEnable = 1;  // IER; DLM with DLAB
inline constexpr std::uint64_t kUartIdentify = 2;         // read: IIR; write: FCR
inline constexpr std::uint64_t kUartLineControl = 3;      // LCR
inline constexpr std::uint64_t kUartModemControl = 4;     // MCR
inline constexpr std::uint64_t kUartLineStatus = 5;       // LSR
inline constexpr std::uint64_t kUartModemStatus = 6;      // MSR
inline constexpr std::uint64_t kUartScratch = 7;          // SCR

inline constexpr std::uint8_t kIerTransmitter = 0x02;
inline constexpr std::uint8_t kIerMask = 0x0f;

inline constexpr std::uint8_t kIirNone = 0x01;
inline constexpr std::uint8_t kIirTransmitter = 0x02;
inline constexpr std::uint8_t kIirFifos = 0xc0;

inline constexpr std::uint8_t kFcrEnable = 0x01;
inline constexpr std::uint8_t kFcrMask =
    0xc9;  // what stays written: the clear bits reset themselves

inline constexpr std::uint8_t kLcrDivisorLatch = 0x80;

inline constexpr std::uint8_t kMcrDataTerminalReady = 0x01;
inline constexpr std::uint8_t kMcrRequestToSend = 0x02;
inline constexpr std::uint8_t kMcrOut1 = 0x04;
inline constexpr std::uint8_t kMcrOut2 = 0x08;
inline constexpr std::uint8_t kMcrLoop = 0x10;
inline constexpr std::uint8_t kMcrMask = 0x1f;

inline constexpr std::uint8_t kLsrTransmitterEmpty = 0x60;  // THRE and TEMT

inline constexpr std::uint8_t kMsrClearToSend = 0x10;
inline constexpr std::uint8_t kMsrDataSetReady = 0x20;
inline constexpr std::uint8_t kMsrRing = 0x40;
inline constexpr std::uint8_t kMsrCarrierDetect = 0x80;

}  // namespace spore::devices
